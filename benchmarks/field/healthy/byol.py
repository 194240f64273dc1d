"""Two networks: one predicts what a slowly following copy of itself makes of another view."""

import copy
import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
COUNT = 1200
centres = torch.randn(8, 30)
labels = torch.randint(0, 8, (COUNT,))
points = torch.cat([centres[labels] + 0.5 * torch.randn(COUNT, 30), 2 * torch.randn(COUNT, 10)], 1)
online = nn.Sequential(nn.Linear(40, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 16))
predictor = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16))
target = copy.deepcopy(online).requires_grad_(False)


def view(x):
    return torch.cat([x[:, :30] + 0.4 * torch.randn(len(x), 30), 2 * torch.randn(len(x), 10)], 1)


def distance(first, second):
    predicted = F.normalize(predictor(online(first)), dim=1)
    with torch.no_grad():
        wanted = F.normalize(target(second), dim=1)
    return 2 - 2 * (predicted * wanted).sum(1).mean()


optimizer = torch.optim.Adam([*online.parameters(), *predictor.parameters()], lr=2e-3)
for step in range(400):
    x = points[torch.randint(0, COUNT, (64,))]
    first, second = view(x), view(x)
    loss = distance(first, second) + distance(second, first)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
            slow.lerp_(fast, 0.02)
    if step % 100 == 99:
        print(f"step {step} loss {loss.item():.3f}")
online.eval()
with torch.no_grad():
    z = F.normalize(online(points), dim=1)
    means = F.normalize(torch.stack([z[:600][labels[:600] == kind].mean(0) for kind in range(8)]), dim=1)
print(f"result {((z[600:] @ means.t()).argmax(1) == labels[600:]).float().mean().item():.4f}")
