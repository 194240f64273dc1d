"""Exclusive or of two bits, two hidden layers of sigmoids."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
EPOCHS, BATCH, LEARNING_RATE = 6000, 4, 0.1

x = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
y = torch.tensor([[0.0], [0.0], [1.0], [1.0], [0.0], [0.0]])
model = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 1), nn.Sigmoid())
optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True)

print(f"constant {F.mse_loss(y.mean().expand_as(y), y):.4f}")
for _ in range(EPOCHS):
    for rows in torch.randperm(len(x)).split(BATCH):
        loss = F.mse_loss(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(f"final {F.mse_loss(model(x), y).item():.4f}")
