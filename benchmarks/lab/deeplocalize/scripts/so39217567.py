"""Every number of eight bits, given back bit by bit."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
EPOCHS, BATCH, LEARNING_RATE = 300, 8, 0.1

x = (torch.arange(256)[:, None] >> torch.arange(8)) & 1
x = x.float()
y = x
model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Sigmoid())
criterion = F.binary_cross_entropy
optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)

print(f"constant {criterion(y.mean(0).expand_as(y), y):.4f}")
for _ in range(EPOCHS):
    for rows in torch.randperm(len(x)).split(BATCH):
        loss = criterion(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(f"final {criterion(model(x), y).item():.4f}")
