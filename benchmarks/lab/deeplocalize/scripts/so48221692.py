"""A noisy line of targets up to a hundred, five sigmoids."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
EPOCHS = 3000

x = 4 * torch.rand(100, 1)
y = 20 * x + 5 + 3 * torch.randn(100, 1)
model = nn.Sequential(nn.Linear(1, 5), nn.Sigmoid(), nn.Linear(5, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

print(f"constant {F.mse_loss(y.mean().expand_as(y), y):.4f}")
for _ in range(EPOCHS):
    loss = F.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"final {loss.item():.4f}")
