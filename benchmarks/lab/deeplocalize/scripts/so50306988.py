"""Two squares of points in the plane, told apart."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
EPOCHS, BATCH = 300, 32

x = torch.cat([0.2 + 0.2 * torch.rand(200, 2), 0.5 + 0.2 * torch.rand(200, 2)])
y = torch.cat([torch.zeros(200, 1), torch.ones(200, 1)])
model = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1), nn.Sigmoid())
optimizer = torch.optim.Adam(model.parameters())
criterion = F.binary_cross_entropy

print(f"constant {criterion(y.mean().expand_as(y), y):.4f}")
for _ in range(EPOCHS):
    for rows in torch.randperm(len(x)).split(BATCH):
        loss = criterion(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(f"final {criterion(model(x), y).item():.4f}")
