"""Five numbers, and whether their sum is large."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
EPOCHS, BATCH = 20, 10

x = torch.rand(1000, 5)
y = (x.sum(1, keepdim=True) > 2.5).float()
model = nn.Sequential(nn.Linear(5, 60), nn.ReLU(), nn.Linear(60, 50), nn.ReLU(), nn.Linear(50, 1), nn.Sigmoid())
optimizer = torch.optim.Adam(model.parameters())

print(f"constant {F.binary_cross_entropy(y.mean().expand_as(y), y):.4f}")
for _ in range(EPOCHS):
    for rows in torch.randperm(len(x)).split(BATCH):
        loss = F.binary_cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(f"final {F.binary_cross_entropy(model(x), y).item():.4f}")
