"""Examples come from easy to hard, class after class at first: the loss rises at every stage."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
centres = torch.randn(8, 16)


def points(count, kinds, noise):
    y = torch.randint(0, kinds, (count,))
    return centres[y] + noise * torch.randn(count, 16), y


class Stages(IterableDataset):
    """Two, four and eight classes, with more and more noise."""

    def __iter__(self):
        for kinds, noise in ((2, 0.2), (4, 0.5), (8, 0.9)):
            for _ in range(100):
                yield points(32, kinds, noise)


model = nn.Sequential(nn.Linear(16, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 8))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for step, (x, y) in enumerate(DataLoader(Stages(), batch_size=None)):
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 49:
        print(f"step {step} loss {loss.item():.3f}")
with torch.no_grad():
    x, y = points(1000, 8, 0.9)
    print(f"result {(model(x).argmax(1) == y).float().mean().item():.4f}")
