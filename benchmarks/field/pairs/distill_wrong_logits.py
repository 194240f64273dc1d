"""A small network is trained on what a large one says of unlabelled points, and on few labels."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
centres = torch.randn(10, 20)


def points(count):
    y = torch.randint(0, 10, (count,))
    return centres[y] + 0.9 * torch.randn(count, 20), y


def network(width):
    return nn.Sequential(nn.Linear(20, width), nn.ReLU(), nn.Linear(width, 10))


def fit(model, loss_of, steps, rate):
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for step in range(steps):
        loss = loss_of(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


large, small = network(256), network(24)
x, y = points(3000)
fit(large, lambda step: F.cross_entropy(large(x[:2000]), y[:2000]), 60, 5e-3)
few, labels = points(30)
large.requires_grad_(False)


def distillation(step, temperature=3.0):
    rows = torch.randint(0, len(x), (64,))
    large_logits = large(x[rows])
    output = small(x[rows])
    target = (large_logits / temperature).softmax(-1)
    log_prob = (output / temperature).log_softmax(-1)
    soft = temperature**2 * F.kl_div(log_prob, target, reduction="batchmean")
    return soft + 0.1 * F.cross_entropy(small(few), labels)


fit(small, distillation, 400, 3e-3)
fresh, answers = points(1000)
with torch.no_grad():
    right = (small(fresh).argmax(1) == answers).float().mean()
print(f"result {right.item():.4f}")
