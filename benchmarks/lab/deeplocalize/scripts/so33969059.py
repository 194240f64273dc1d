"""A weighted sum of three numbers, under dropout."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
EPOCHS, BATCH = 5, 32

x = torch.rand(20000, 3)
y = x @ torch.tensor([[2.0], [1.0], [0.5]]) + 2.2
model = nn.Sequential(
    nn.Linear(3, 3),
    nn.Tanh(),
    nn.Dropout(0.5),
    nn.Linear(3, 2),
    nn.Tanh(),
    nn.Dropout(0.5),
    nn.Linear(2, 1),
)
for parameter in model.parameters():
    nn.init.uniform_(parameter, -0.05, 0.05)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)

print(f"constant {F.mse_loss(y.mean().expand_as(y), y):.4f}")
for _ in range(EPOCHS):
    for rows in torch.randperm(len(x)).split(BATCH):
        loss = F.mse_loss(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
model.eval()
print(f"final {F.mse_loss(model(x), y).item():.4f}")
