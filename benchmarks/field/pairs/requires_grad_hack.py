"""A Siamese network that says whether two points are of one class."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
centres = 1.5 * torch.randn(6, 10)


def two(count):
    """Pairs of points, half of them of one class."""
    first = torch.randint(0, 6, (count,))
    second = torch.where(torch.rand(count) < 0.5, first, torch.randint(0, 6, (count,)))
    points = [centres[kind] + 0.8 * torch.randn(count, 10) for kind in (first, second)]
    return *points, (first == second).float()


embed = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 8))
margin = nn.Parameter(torch.tensor(1.0))
optimizer = torch.optim.Adam([*embed.parameters(), margin], lr=3e-3)


def likeness(a, b):
    return margin - (embed(a) - embed(b)).norm(dim=1)


for step in range(400):
    a, b, same = two(64)
    logits = likeness(a, b)
    loss = F.binary_cross_entropy_with_logits(logits, same)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 99:
        print(f"step {step} loss {loss.item():.3f}")
with torch.no_grad():
    a, b, same = two(1000)
    right = ((likeness(a, b) > 0).float() == same).float().mean()
print(f"result {right.item():.4f}")
