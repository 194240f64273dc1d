"""A rare class is repeated until both are as frequent, and a part is kept for validation."""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
direction = torch.randn(30)


def patients(count):
    """Every eighth has the disease, which shows only a little."""
    y = (torch.rand(count) < 0.125).long()
    return torch.randn(count, 30) + 0.25 * y[:, None] * direction, y


def balanced(x, y):
    rare = (y == 1).nonzero().squeeze(1)
    rows = torch.cat([torch.arange(len(y)), rare.repeat(6)])
    rows = rows[torch.randperm(len(rows))]
    return x[rows], y[rows]


def split(x, y, share=0.8):
    cut = int(share * len(x))
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


data, held_out = split(*patients(800))
data, held_out = balanced(*data), balanced(*held_out)
train = DataLoader(TensorDataset(*data), 40, shuffle=True)
validation = DataLoader(TensorDataset(*held_out), 100)
model = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(8):
    model.train()
    for x, y in train:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch} accuracy {accuracy(model, validation):.3f}")
fresh = DataLoader(TensorDataset(*balanced(*patients(3000))), 1000)
print(f"result {accuracy(model, validation) - accuracy(model, fresh):.4f}")
