"""The fourth power of four hundred numbers."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
EPOCHS = 3000

x = torch.arange(-100, 100, 0.5)[:, None]
y = x**4
x = (x - x.mean()) / x.std()
y = (y - y.mean()) / y.std()
model = nn.Sequential(nn.Linear(1, 50), nn.ReLU(), nn.Linear(50, 50), nn.ELU(), nn.Linear(50, 1))
optimizer = torch.optim.Adam(model.parameters())

print(f"constant {F.mse_loss(y.mean().expand_as(y), y):.4f}")
for _ in range(EPOCHS):
    loss = F.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"final {loss.item():.6f}")
