"""A small detector of one box; its losses are summed over an epoch and printed."""

import resource
import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def scenes(count):
    """Images of 24 x 24 pixels with one bright box, and its centre and sides as shares of the image."""
    x, boxes = 0.2 * torch.randn(count, 1, 24, 24), []
    for image, (row, column, high, wide) in zip(x, torch.randint(2, 10, (count, 4)).tolist(), strict=True):
        image[:, row : row + high, column : column + wide] += 1
        boxes.append([row + high / 2, column + wide / 2, high, wide])
    return x, torch.tensor(boxes) / 24


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 36, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, x):
        return self.head(self.body(x))


x, boxes = scenes(640)
model = Detector()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
before = 0
for epoch in range(4):
    total = 0.0
    for rows in torch.randperm(640).split(8):
        loss = F.smooth_l1_loss(model(x[rows]), boxes[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    before = before or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"epoch {epoch} loss {total / 80:.4f}")
print(f"result {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.1f}")
