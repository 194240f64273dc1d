"""Two constant inputs, all ones and all zeros, told apart."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
EPOCHS, BATCH = 3, 16

y = torch.cat([torch.ones(2000, 1), torch.zeros(2000, 1)])
x = y.expand(-1, 128).contiguous()
model = nn.Sequential(
    nn.Linear(128, 50),
    nn.ReLU(),
    nn.Dropout(0.2),
    nn.Linear(50, 50),
    nn.ReLU(),
    nn.Dropout(0.2),
    nn.Linear(50, 1),
    nn.Sigmoid(),
)
optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)

print(f"constant {F.binary_cross_entropy(y.mean().expand_as(y), y):.4f}")
for _ in range(EPOCHS):
    for rows in torch.randperm(len(x)).split(BATCH):
        loss = F.binary_cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
model.eval()
print(f"final {F.binary_cross_entropy(model(x), y).item():.4f}")
