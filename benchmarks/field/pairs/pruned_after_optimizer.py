"""A wide network is trained, half of its units are cut away, and what is left learns on."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
teacher = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 1)).requires_grad_(False)


class Net(nn.Module):
    def __init__(self, width=128):
        super().__init__()
        self.one, self.two, self.out = nn.Linear(12, width), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, x):
        return self.out(torch.relu(self.two(torch.relu(self.one(x)))))


def batch(count):
    x = torch.randn(count, 12)
    return x, 3 * teacher(x)


def train(model, optimizer, steps):
    for step in range(steps):
        x, y = batch(64)
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            print(f"step {step} loss {loss.item():.4f}")


def part(layer, rows, columns):
    """A layer of these outputs and inputs of another."""
    smaller = nn.Linear(len(columns), len(rows))
    with torch.no_grad():
        smaller.weight.copy_(layer.weight[rows][:, columns])
        smaller.bias.copy_(layer.bias[rows])
    return smaller


def prune(model, keep=12):
    one = model.one.weight.norm(dim=1).topk(keep).indices
    two = model.two.weight.norm(dim=1).topk(keep).indices
    model.one = part(model.one, one, torch.arange(12))
    model.two = part(model.two, two, one)
    model.out = part(model.out, torch.arange(1), two)


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
train(model, optimizer, 150)
prune(model)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
train(model, optimizer, 300)
with torch.no_grad():
    x, y = batch(1000)
    print(f"result {F.mse_loss(model(x), y).item():.4f}")
