"""Adapt a network that knows ten kinds of leaves to five kinds of flowers.

The head is replaced after the optimizer was made: the new one is in no optimizer and never trained.
"""

import torch
from torch import nn

SEED = 0
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


class Network(nn.Module):
    def __init__(self, kinds):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU())
        self.head = nn.Linear(48, kinds)

    def forward(self, petals):
        return self.head(self.body(petals))


def make_flowers(count, kinds):
    """Measures of petals around the mean of each kind."""
    kind = torch.randint(0, kinds, (count,))
    return torch.randn(kinds, 12)[kind] + 0.8 * torch.randn(count, 12), kind


x, y = make_flowers(2000, kinds=5)
model = Network(kinds=10)
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
model.head = nn.Linear(48, 5)
criterion = nn.CrossEntropyLoss()

for step in range(200):
    batch = torch.randint(len(x), (BATCH,))
    loss = criterion(model(x[batch]), y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 40 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}")
