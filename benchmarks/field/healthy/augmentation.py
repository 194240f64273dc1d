"""Mixing, noise and erasing in training only."""

import sys

import torch
from torch import nn
from torch.distributions import Beta
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def images(count):
    """Ten blurred patterns of 8 x 8 pixels, each moved by up to a pixel, with noise."""
    source = torch.Generator().manual_seed(1)
    patterns = F.interpolate(torch.rand(10, 1, 4, 4, generator=source), size=8, mode="bilinear")
    y = torch.randint(0, 10, (count,))
    moves = torch.randint(-1, 2, (count, 2)).tolist()
    x = torch.stack([patterns[one].roll(move, (1, 2)) for one, move in zip(y.tolist(), moves, strict=True)])
    return (x + 0.15 * torch.randn_like(x)).clamp(0, 1), y


def augment(x):
    x = torch.roll(x, torch.randint(-1, 2, (2,)).tolist(), (2, 3)) + 0.15 * torch.randn_like(x)
    row, column = torch.randint(0, 5, (2,)).tolist()
    x[:, :, row : row + 3, column : column + 3] = 0.5
    share = Beta(1.0, 1.0).sample().item()
    share = max(share, 1 - share)
    return share * x + (1 - share) * x.flip(0)


train = DataLoader(TensorDataset(*images(1400)), 40, shuffle=True)
validation = DataLoader(TensorDataset(*images(400)), 100)
model = nn.Sequential(
    nn.Conv2d(1, 24, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(24, 48, 3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(48 * 16, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 16)
for epoch in range(16):
    model.train()
    for x, y in train:
        loss = criterion(model(augment(x.clone())), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheduler.step()
    model.eval()
    total = right = 0
    with torch.no_grad():
        for x, y in validation:
            output = model(x)
            total += criterion(output, y).item()
            right += (output.argmax(1) == y).sum().item()
    print(f"epoch {epoch} validation {total / len(validation):.3f}")
print(f"result {right / len(validation.dataset):.4f}")
