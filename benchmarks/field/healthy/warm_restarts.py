"""Three cosines after each other, and the network at the end of each votes: an ensemble of snapshots."""

import copy
import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
KINDS, PERIOD = 6, 4


def gestures(count, shapes):
    """Curves of three sensors, stretched in time, in noise."""
    kind = torch.randint(0, KINDS, (count,))
    speed = 0.8 + 0.4 * torch.rand(count, 1)
    time = torch.linspace(0, 1, 40) * speed
    curves = torch.stack(
        [torch.sin(6.28 * shapes[kind, axis, :1] * time + shapes[kind, axis, 1:]) for axis in range(3)], 1
    )
    return curves + 1.8 * torch.randn(count, 3, 40), kind


def convolutions():
    return nn.Sequential(
        nn.Conv1d(3, 24, 7, padding=3), nn.BatchNorm1d(24), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(24, 48, 5, padding=2), nn.BatchNorm1d(48), nn.ReLU(), nn.AdaptiveAvgPool1d(4),
        nn.Flatten(), nn.Linear(192, KINDS),
    )  # fmt: skip


shapes = 1 + 3 * torch.rand(KINDS, 3, 2)
train = DataLoader(TensorDataset(*gestures(4000, shapes)), batch_size=32, shuffle=True)
held_x, held_y = gestures(1000, shapes)
model, snapshots = convolutions(), []
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=PERIOD * len(train))
for epoch in range(3 * PERIOD):
    model.train()
    for x, y in train:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    model.eval()
    with torch.no_grad():
        logits = model(held_x)
        held, accuracy = F.cross_entropy(logits, held_y).item(), (logits.argmax(1) == held_y).float().mean().item()
    print(f"epoch {epoch} loss {loss.item():.3f} validation {held:.3f} accuracy {accuracy:.3f}")
    if epoch % PERIOD == PERIOD - 1:
        snapshots.append(copy.deepcopy(model))
with torch.no_grad():
    votes = torch.stack([one(held_x).softmax(1) for one in snapshots]).mean(0)
print(f"result {(votes.argmax(1) == held_y).float().mean().item():.4f}")
