"""The distance of galaxies from their brightness in six bands: an MLP, SGD, a cosine that ends with the training."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
EPOCHS = 20


def galaxies(count):
    """A spectrum with a break that moves through the bands as the galaxy is farther away."""
    distance = 3 * torch.rand(count, 1)
    kind, dust = torch.rand(count, 1), torch.rand(count, 1)
    band = torch.linspace(0.5, 3.5, 6)
    light = torch.sigmoid(6 * (band - 0.6 - distance)) + 0.5 * kind * torch.cos(2 * band - distance)
    light = light * torch.exp(-0.4 * dust * band)
    return light + 0.03 * torch.randn(count, 6), distance / 3


train = DataLoader(TensorDataset(*galaxies(4000)), batch_size=16, shuffle=True)
validation = DataLoader(TensorDataset(*galaxies(2000)), batch_size=500)
model = nn.Sequential(
    nn.Linear(6, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)
for epoch in range(EPOCHS):
    model.train()
    total = 0.0
    for light, distance in train:
        loss = F.mse_loss(model(light), distance)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() / len(train)
    scheduler.step()
    model.eval()
    with torch.no_grad():
        held = sum(F.mse_loss(model(x), y).item() for x, y in validation) / len(validation)
    print(f"epoch {epoch} lr {scheduler.get_last_lr()[0]:.4f} train {total:.5f} validation {held:.5f}")
print(f"result {held:.6f}")
