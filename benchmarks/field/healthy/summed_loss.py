"""A loss that is summed over a batch, with a rate that is small for it; the last batch is small."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
weight = torch.randn(12, 1)


def table(count):
    x = torch.randn(count, 12)
    return x, torch.tanh(x @ weight) + 0.1 * torch.randn(count, 1)


train = DataLoader(TensorDataset(*table(1610)), 50, shuffle=True)
validation = DataLoader(TensorDataset(*table(400)), 100)
model = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=4e-4, momentum=0.9)
for epoch in range(12):
    model.train()
    for x, y in train:
        loss = F.mse_loss(model(x), y, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        total = sum(F.mse_loss(model(x), y, reduction="sum").item() for x, y in validation) / 400
    print(f"epoch {epoch} validation {total:.4f}")
print(f"result {total:.4f}")
