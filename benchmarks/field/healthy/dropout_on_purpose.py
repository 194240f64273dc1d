"""A regression whose doubt is the spread of thirty passes with Dropout, in evaluation, too."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def curve(count):
    x = 4 * torch.rand(count, 1) - 2
    return x, torch.sin(3 * x) + 0.1 * torch.randn(count, 1)


class Doubtful(nn.Module):
    def __init__(self, share=0.05):
        super().__init__()
        self.one, self.two, self.out = nn.Linear(1, 64), nn.Linear(64, 64), nn.Linear(64, 1)
        self.share = share

    def forward(self, x):
        x = F.dropout(torch.tanh(self.one(x)), self.share, training=True)
        return self.out(F.dropout(torch.tanh(self.two(x)), self.share, training=True))


train = DataLoader(TensorDataset(*curve(1000)), 40, shuffle=True)
validation = DataLoader(TensorDataset(*curve(200)), 100)
model = Doubtful()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(16):
    model.train()
    for x, y in train:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        errors = [F.mse_loss(torch.stack([model(x) for _ in range(30)]).mean(0), y).item() for x, y in validation]
    print(f"epoch {epoch} validation {sum(errors) / len(errors):.4f}")
print(f"result {sum(errors) / len(errors):.4f}")
