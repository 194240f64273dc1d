"""A residual network on images; gradients of eight small batches make one step."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
STEPS = 8


def images(count):
    """Ten blurred patterns of 8 x 8 pixels, each moved by up to a pixel, with noise."""
    source = torch.Generator().manual_seed(1)
    patterns = F.interpolate(torch.rand(10, 1, 4, 4, generator=source), size=8, mode="bilinear")
    y = torch.randint(0, 10, (count,))
    moves = torch.randint(-1, 2, (count, 2)).tolist()
    x = torch.stack([patterns[one].roll(move, (1, 2)) for one, move in zip(y.tolist(), moves, strict=True)])
    return (x + 0.15 * torch.randn_like(x)).clamp(0, 1), y


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one, self.two = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.two(F.relu(self.one(x)))


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


train = DataLoader(TensorDataset(*images(1600)), 8, shuffle=True)
validation = DataLoader(TensorDataset(*images(400)), 100)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), Residual(16), nn.ReLU(), nn.MaxPool2d(2), Residual(16), nn.ReLU(), nn.Flatten(),
    nn.Linear(256, 10),
)  # fmt: skip
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for epoch in range(6):
    model.train()
    for i, (x, y) in enumerate(train, 1):
        loss = criterion(model(x), y)
        (loss / STEPS).backward()
        if i % STEPS == 0:
            optimizer.step()
            optimizer.zero_grad()
    print(f"epoch {epoch} accuracy {accuracy(model, validation):.3f}")
print(f"result {accuracy(model, validation):.4f}")
