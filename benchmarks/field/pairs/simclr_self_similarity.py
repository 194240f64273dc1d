"""Contrastive learning of two noisy views; judged by the nearest class centre among the embeddings."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
COUNT, CLASSES, WIDTH = 1200, 8, 30
centres = torch.randn(CLASSES, WIDTH)
labels = torch.randint(0, CLASSES, (COUNT,))
points = torch.cat([centres[labels] + 0.5 * torch.randn(COUNT, WIDTH), 3 * torch.randn(COUNT, 10)], 1)
encoder = nn.Sequential(nn.Linear(WIDTH + 10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))


def view(x):
    """Noise everywhere, and the last ten columns anew: they say nothing of the class."""
    noisy = x + 0.4 * torch.randn_like(x)
    return torch.cat([noisy[:, :WIDTH], 3 * torch.randn(len(x), 10)], 1)


def contrastive(first, second, temperature=0.1):
    z = F.normalize(torch.cat([first, second]), dim=1)
    scores = z @ z.t() / temperature
    scores = scores.masked_fill(torch.eye(len(z), dtype=torch.bool), float("-inf"))
    partner = torch.arange(len(z)).roll(len(first))
    return F.cross_entropy(scores, partner)


optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
for step in range(400):
    x = points[torch.randint(0, COUNT, (64,))]
    loss = contrastive(encoder(view(x)), encoder(view(x)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 99:
        print(f"step {step} loss {loss.item():.3f}")
with torch.no_grad():
    z = F.normalize(encoder(points), dim=1)
    means = F.normalize(torch.stack([z[:600][labels[:600] == kind].mean(0) for kind in range(CLASSES)]), dim=1)
    right = ((z[600:] @ means.t()).argmax(1) == labels[600:]).float().mean()
print(f"result {right.item():.4f}")
