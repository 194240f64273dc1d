"""A deep residual network whose branches start at zero, and so does its last layer."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
INPUTS = 10


def alloys(count):
    """The strength of an alloy from the shares of its metals."""
    share = torch.softmax(1.5 * torch.randn(count, INPUTS), 1)
    strength = torch.sin(8 * share[:, 0]) + 4 * share[:, 1] * share[:, 2] + (share[:, 3] > 0.1).float()
    return (share - 0.1) * 5, (strength + 0.05 * torch.randn(count) - 0.9)[:, None]


class Branch(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x + self.weight * self.inner(x)


class ReZero(nn.Module):
    def __init__(self, width=48, depth=10):
        super().__init__()
        self.first = nn.Linear(INPUTS, width)
        self.branches = nn.Sequential(*(Branch(width) for _ in range(depth)))
        self.last = nn.Linear(width, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x):
        return self.last(self.branches(self.first(x)))


train = DataLoader(TensorDataset(*alloys(3000)), batch_size=64, shuffle=True)
validation = DataLoader(TensorDataset(*alloys(1000)), batch_size=250)
model = ReZero()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=14)
for epoch in range(14):
    model.train()
    for x, y in train:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheduler.step()
    model.eval()
    with torch.no_grad():
        held = sum(F.mse_loss(model(x), y).item() for x, y in validation) / len(validation)
    print(f"epoch {epoch} loss {loss.item():.4f} validation {held:.4f}")
print(f"result {held:.4f}")
