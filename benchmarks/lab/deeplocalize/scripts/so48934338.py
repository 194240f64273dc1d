"""A noisy parabola of fifty points."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
EPOCHS, BATCH, LEARNING_RATE = 1000, 32, 0.001

x = torch.arange(0.0, 5.0, 0.1)[:, None]
y = 5 * x**2 + torch.randn(50, 1) ** 3
model = nn.Sequential(nn.Linear(1, 50), nn.ReLU(), nn.Linear(50, 30), nn.ReLU(), nn.Linear(30, 1))
nn.init.uniform_(model[2].weight, -0.05, 0.05)
optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)

print(f"constant {F.mse_loss(y.mean().expand_as(y), y):.4f}")
for _ in range(EPOCHS):
    for rows in torch.randperm(len(x)).split(BATCH):
        loss = F.mse_loss(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(f"final {F.mse_loss(model(x), y).item():.4f}")
