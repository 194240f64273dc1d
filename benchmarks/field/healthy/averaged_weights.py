"""Stochastic weight averaging: an average in no optimizer, whose BatchNorm is filled once at the end."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
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


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


train = DataLoader(TensorDataset(*images(1200)), 40, shuffle=True)
validation = DataLoader(TensorDataset(*images(400)), 100)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)
)
average = AveragedModel(model)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
scheduler = SWALR(optimizer, swa_lr=0.02, anneal_epochs=2)
for epoch in range(10):
    model.train()
    for x, y in train:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch >= 5:
        average.update_parameters(model)
        scheduler.step()
    print(f"epoch {epoch} accuracy {accuracy(model, validation):.3f}")
update_bn(train, average)
print(f"result {accuracy(average, validation):.4f}")
