"""Three kinds of flowers by four measures, half of them kept for validation."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
EPOCHS, BATCH = 150, 5

# Means and spreads of the measures of each kind, in cm, as in Fisher's table.
means = torch.tensor([[5.0, 3.4, 1.5, 0.2], [5.9, 2.8, 4.3, 1.3], [6.6, 3.0, 5.6, 2.0]])
spreads = torch.tensor([[0.35, 0.38, 0.17, 0.1], [0.52, 0.31, 0.47, 0.2], [0.64, 0.32, 0.55, 0.27]])
kind = torch.arange(150) % 3
measures = means[kind] + spreads[kind] * torch.randn(150, 4)
x = (measures - measures.mean(0)) / measures.std(0)
train, validation = torch.randperm(150).split(75)
model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
for layer in (model[0], model[2]):
    nn.init.normal_(layer.weight, std=0.05)
    nn.init.zeros_(layer.bias)
optimizer = torch.optim.Adam(model.parameters())

print(f"constant {torch.tensor(3.0).log():.4f}")
for _ in range(EPOCHS):
    for rows in train[torch.randperm(75)].split(BATCH):
        loss = F.cross_entropy(model(x[rows]), kind[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        validation_loss = F.cross_entropy(model(x[validation]), kind[validation])
with torch.no_grad():
    accuracy = (model(x[validation]).argmax(1) == kind[validation]).float().mean()
print(f"validation {validation_loss.item():.4f} accuracy {accuracy:.3f}")
print(f"final {F.cross_entropy(model(x[train]), kind[train]).item():.4f}")
