"""Questions and answers are matched within a batch: every answer of the others is wrong."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
ask, tell = torch.randn(6, 30), torch.randn(6, 40)
questions = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 16))
answers = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 16))
scale = nn.Parameter(torch.tensor(2.0))
optimizer = torch.optim.Adam([*questions.parameters(), *answers.parameters(), scale], lr=2e-3)


def batch(count):
    hidden = torch.randn(count, 6)
    return hidden @ ask + 0.3 * torch.randn(count, 30), hidden @ tell + 0.3 * torch.randn(count, 40)


def scores(count):
    q, a = batch(count)
    return scale.exp() * F.normalize(questions(q), dim=1) @ F.normalize(answers(a), dim=1).t()


for step in range(400):
    found = scores(64)
    own = torch.eye(64)
    loss = (own * F.softplus(-found) * 32 + (1 - own) * F.softplus(found)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 99:
        print(f"step {step} loss {loss.item():.3f}")
with torch.no_grad():
    right = (scores(100).argmax(1) == torch.arange(100)).float().mean()
print(f"result {right.item():.4f}")
