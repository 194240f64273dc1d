"""Metric learning: a sampler puts four examples of each of four classes into a batch."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
CLASSES = 40
centres = torch.randn(CLASSES, 20)


def points(count):
    y = torch.randint(0, CLASSES, (count,))
    return torch.cat([centres[y] + 0.5 * torch.randn(count, 20), 2 * torch.randn(count, 12)], 1), y


class ByClass:
    """Batches of 4 x 4."""

    def __init__(self, y, batches):
        self.rows, self.batches = [(y == kind).nonzero().squeeze(1) for kind in range(CLASSES)], batches

    def __len__(self):
        return self.batches

    def __iter__(self):
        for _ in range(self.batches):
            chosen = [self.rows[kind] for kind in torch.randperm(CLASSES)[:4].tolist()]
            yield torch.cat([rows[torch.randint(0, len(rows), (4,))] for rows in chosen]).tolist()


def triplet(z, y, margin=0.3):
    gap = torch.cdist(z, z)
    same = y[:, None] == y[None]
    furthest = gap.masked_fill(~same, 0).max(1).values
    nearest = gap.masked_fill(same, 9).min(1).values
    return F.relu(furthest - nearest + margin).mean()


x, y = points(2000)
train = DataLoader(TensorDataset(x, y), batch_sampler=ByClass(y, 40))
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(10):
    for inputs, labels in train:
        loss = triplet(F.normalize(model(inputs), dim=1), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch} loss {loss.item():.3f}")
with torch.no_grad():
    fresh, answers = points(500)
    nearest = torch.cdist(F.normalize(model(fresh), dim=1), F.normalize(model(x), dim=1)).argmin(1)
print(f"result {(y[nearest] == answers).float().mean().item():.4f}")
