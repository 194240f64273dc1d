"""A small convolutional network, ported from another framework with its settings of BatchNorm."""

import sys

import torch
from torch import nn
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


def block(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs, eps=0.001, momentum=0.1),
        nn.ReLU(inplace=True),
    )


train = DataLoader(TensorDataset(*images(1400)), 50, shuffle=True)
validation = DataLoader(TensorDataset(*images(400)), 100)
model = nn.Sequential(
    block(1, 16),
    block(16, 32),
    nn.MaxPool2d(2),
    block(32, 32),
    nn.AdaptiveAvgPool2d(2),
    nn.Flatten(),
    nn.Linear(128, 10),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
for epoch in range(8):
    model.train()
    for x, y in train:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    total = right = 0
    with torch.no_grad():
        for x, y in validation:
            output = model(x)
            total += criterion(output, y).item()
            right += (output.argmax(1) == y).sum().item()
    print(f"epoch {epoch} validation {total / len(validation):.3f}")
print(f"result {right / len(validation.dataset):.4f}")
