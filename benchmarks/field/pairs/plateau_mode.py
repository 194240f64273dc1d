"""A one-dimensional convolutional network tells kinds of waves apart; the rate falls when accuracy no longer rises."""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def waves(count, length=48):
    """Five kinds by their period, anywhere in time, with noise."""
    y = torch.randint(0, 5, (count,))
    period = torch.tensor([3.0, 3.4, 3.9, 4.5, 5.2])[y]
    time = torch.arange(length) + 10 * torch.rand(count, 1)
    return (torch.sin(2 * torch.pi * time / period[:, None]) + 1.0 * torch.randn(count, length))[:, None], y


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


train = DataLoader(TensorDataset(*waves(1200)), 40, shuffle=True)
validation = DataLoader(TensorDataset(*waves(400)), 100)
model = nn.Sequential(
    nn.Conv1d(1, 16, 7), nn.ReLU(), nn.Conv1d(16, 16, 7), nn.ReLU(), nn.AdaptiveMaxPool1d(4), nn.Flatten(),
    nn.Linear(64, 5),
)  # fmt: skip
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.1, patience=1)
for epoch in range(14):
    model.train()
    for x, y in train:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    reached = accuracy(model, validation)
    scheduler.step(reached)
    print(f"epoch {epoch} accuracy {reached:.3f}")
print(f"result {reached:.4f}")
