"""A convolutional forecaster of the next value of a noisy series from the sixteen before it."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
WINDOW = 16


def series(count):
    """Two waves and a disturbance that lasts for some steps."""
    time, noise, value = torch.arange(count), torch.randn(count), 0.0
    kept = []
    for one in noise.tolist():
        value = 0.7 * value + one
        kept.append(value)
    wave = torch.sin(time / 5) + torch.sin(time / 17)
    return wave + 0.5 * torch.tensor(kept)


class Windows(Dataset):
    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values) - WINDOW - 1

    def __getitem__(self, i):
        start = i + 1
        return self.values[start : start + WINDOW], self.values[start + WINDOW]


values = series(1700)
train = DataLoader(Windows(values[:1300]), 50, shuffle=True)
validation = DataLoader(Windows(values[1300:]), 100)
model = nn.Sequential(
    nn.Unflatten(1, (1, WINDOW)), nn.Conv1d(1, 16, 3), nn.ReLU(), nn.Conv1d(16, 16, 3), nn.ReLU(), nn.Flatten(),
    nn.Linear(16 * (WINDOW - 4), 1), nn.Flatten(0),
)  # fmt: skip
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(10):
    model.train()
    for x, y in train:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        total = sum(F.mse_loss(model(x), y).item() for x, y in validation)
    print(f"epoch {epoch} validation {total / len(validation):.3f}")
with torch.no_grad():
    past = values[1300:].unfold(0, WINDOW + 1, 1)
    error = F.mse_loss(model(past[:, :-1]), past[:, -1])
print(f"result {error.item() - total / len(validation):.4f}")
