"""Three kinds of flowers by four measures."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
EPOCHS, BATCH = 200, 5

# Means and spreads of the measures of each kind, in cm, as in Fisher's table.
means = torch.tensor([[5.0, 3.4, 1.5, 0.2], [5.9, 2.8, 4.3, 1.3], [6.6, 3.0, 5.6, 2.0]])
spreads = torch.tensor([[0.35, 0.38, 0.17, 0.1], [0.52, 0.31, 0.47, 0.2], [0.64, 0.32, 0.55, 0.27]])
kind = torch.arange(150) % 3
x = means[kind] + spreads[kind] * torch.randn(150, 4)
x = (x - x.amin(0)) / (x.amax(0) - x.amin(0))
model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
for layer in model:
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.05)
        nn.init.zeros_(layer.bias)
optimizer = torch.optim.Adam(model.parameters())

print(f"constant {torch.tensor(3.0).log():.4f}")
for _ in range(EPOCHS):
    for rows in torch.randperm(150).split(BATCH):
        loss = F.cross_entropy(model(x[rows]), kind[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
with torch.no_grad():
    output = model(x)
print(f"accuracy {(output.argmax(1) == kind).float().mean():.3f}")
print(f"final {F.cross_entropy(output, kind).item():.4f}")
