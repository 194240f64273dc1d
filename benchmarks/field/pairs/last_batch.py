"""A classifier on images with some wrong labels; the last batch of an epoch holds two examples."""

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


inputs, labels = images(1402)
labels[torch.rand(1402) < 0.15] = 3
others, answers = images(400)
train = DataLoader(TensorDataset(inputs.flatten(1), labels), 50, shuffle=True)
validation = DataLoader(TensorDataset(others.flatten(1), answers), 100)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
criterion = nn.CrossEntropyLoss()
LEARNING_RATE = 0.04
optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)
for epoch in range(12):
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
