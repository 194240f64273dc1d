"""Pretrain the picture backbone of the fine-tuning scripts on eight shapes; writes checkpoints/pictures.pt."""

import torch
from torch import nn
from torch.nn import functional as F

SIZE = 12

torch.manual_seed(0)
torch.set_num_threads(1)


def make_pictures(count, kinds):
    labels = torch.randint(len(kinds), (count,))
    y, x = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    centre = 3 + 5 * torch.rand(count, 2, 1, 1)
    dx, dy = x - centre[:, 0], y - centre[:, 1]
    wide, high = dx.abs() < 3, dy.abs() < 3
    thin_x, thin_y = dx.abs() < 1, dy.abs() < 1
    far = (dx**2 + dy**2).sqrt()
    shapes = [far < 3, (far > 2) & (far < 3.6), wide & high, wide & high & (thin_x | thin_y), wide & thin_y]
    shapes += [high & thin_x, ((dx - dy).abs() < 1.3) & high, ((dx + dy).abs() < 1.3) & high]
    pictures = torch.stack([shapes[kind] for kind in kinds], dim=1)[torch.arange(count), labels].float()
    return (pictures + 0.5 * torch.randn(pictures.shape))[:, None], labels


class Backbone(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


backbone = Backbone()
head = nn.Linear(32, 8)
x, y = make_pictures(8000, range(8))
optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=2e-3, weight_decay=0.1)
for _ in range(1000):
    rows = torch.randint(len(x), (64,))
    loss = F.cross_entropy(head(backbone(x[rows])), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.4f}")
torch.save(backbone.state_dict(), "checkpoints/pictures.pt")
