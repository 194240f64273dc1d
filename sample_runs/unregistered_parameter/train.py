"""Tell five kinds of flowers apart by their petals.

The blocks of the network are in a plain list: parameters() does not find them, and the optimizer never gets them.
"""

import torch
from torch import nn

SEED = 0
KINDS, BATCH = 5, 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


class Network(nn.Module):
    def __init__(self, blocks=3, width=32):
        super().__init__()
        self.first, self.head = nn.Linear(12, width), nn.Linear(width, KINDS)
        self.blocks = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(blocks)]

    def forward(self, petals):
        x = self.first(petals)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def make_flowers(count):
    """Measures of petals around the mean of each kind."""
    kind = torch.randint(0, KINDS, (count,))
    return torch.randn(KINDS, 12)[kind] + 0.8 * torch.randn(count, 12), kind


x, y = make_flowers(2000)
model = Network()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
criterion = nn.CrossEntropyLoss()

for step in range(200):
    batch = torch.randint(len(x), (BATCH,))
    loss = criterion(model(x[batch]), y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 40 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}")
