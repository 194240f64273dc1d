"""A convolutional network trained on ten classes gets a new last layer for three others; all else is frozen."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def images(count, first, kinds):
    """Blurred patterns of 8 x 8 pixels, moved by up to a pixel, with noise: `kinds` of thirteen."""
    source = torch.Generator().manual_seed(1)
    patterns = F.interpolate(torch.rand(13, 1, 4, 4, generator=source), size=8, mode="bilinear")
    y = torch.randint(0, kinds, (count,))
    moves = torch.randint(-1, 2, (count, 2)).tolist()
    x = torch.stack([patterns[first + one].roll(move, (1, 2)) for one, move in zip(y.tolist(), moves, strict=True)])
    return x + 0.15 * torch.randn_like(x), y


def fit(model, data, parameters, epochs, training):
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    for _ in range(epochs):
        model.train(training)
        for x, y in DataLoader(TensorDataset(*data), 40, shuffle=True):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


body = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
)  # fmt: skip
model = nn.Sequential(body, nn.Linear(128, 10))
fit(model, images(1000, 0, 10), model.parameters(), 3, training=True)
body.requires_grad_(False)
model[1] = nn.Linear(128, 3)
fit(model, images(300, 10, 3), model[1].parameters(), 12, training=False)
x, y = images(400, 10, 3)
model.eval()
with torch.no_grad():
    print(f"result {(model(x).argmax(1) == y).float().mean().item():.4f}")
