"""A per-pixel classifier learns from the soft labels of several readers."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
CLASSES = 5


def scenes(count):
    """Images of 12 x 12 pixels: the class of a pixel shows in its blurred surroundings; readers are not sure."""
    kinds = F.interpolate(torch.randint(0, CLASSES, (count, 1, 3, 3)).float(), size=12).long().squeeze(1)
    colours = torch.randn(CLASSES, 3, generator=torch.Generator().manual_seed(1))
    x = colours[kinds].permute(0, 3, 1, 2) + 0.7 * torch.randn(count, 3, 12, 12)
    soft = 0.8 * F.one_hot(kinds, CLASSES).permute(0, 3, 1, 2) + 0.2 / CLASSES
    return x, soft, kinds


model = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, CLASSES, 1)
)
train = DataLoader(TensorDataset(*scenes(600)), 20, shuffle=True)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(6):
    for x, soft, _ in train:
        predicted = F.log_softmax(model(x), dim=1)
        loss = F.kl_div(predicted, soft, reduction="none").sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch} loss {loss.item():.3f}")
x, soft, _ = scenes(100)
with torch.no_grad():
    apart = F.kl_div(model(x).log_softmax(1), soft, reduction="none").sum(1).mean()
print(f"result {apart.item():.4f}")
