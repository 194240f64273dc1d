"""Texts of counted words with up to three labels each."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
EPOCHS, BATCH = 20, 20

topics = torch.distributions.Dirichlet(torch.full((20,), 0.5)).sample((3,))
y = (torch.rand(4000, 3) < 0.5).float()
y = y[y.sum(1) > 0]
mixture = y @ topics / y.sum(1, keepdim=True)
x = torch.distributions.Multinomial(50, mixture).sample()
model = nn.Sequential(
    nn.Linear(20, 20),
    nn.ReLU(),
    nn.Dropout(0.5),
    nn.Linear(20, 20),
    nn.ReLU(),
    nn.Dropout(0.5),
    nn.Linear(20, 3),
    nn.Sigmoid(),
)
criterion = F.binary_cross_entropy
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

print(f"constant {criterion(y.mean(0).expand_as(y), y):.4f}")
for _ in range(EPOCHS):
    for rows in torch.randperm(len(x)).split(BATCH):
        loss = criterion(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
model.eval()
output = model(x)
print(f"accuracy of each label {((output > 0.5) == y.bool()).float().mean():.3f}")
print(f"final {criterion(output, y).item():.4f}")
