"""Transfer learning: first the new head, after a third of the steps also the pretrained backbone, at a lower rate."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 300
BATCH = 32
SIZE = 12
KINDS = (2, 3, 4, 5, 6, 7)
UNFREEZE = 100
LEARNING_RATE = 3e-3
BACKBONE_RATE = 3e-4

torch.manual_seed(SEED)
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


train_x, train_y = make_pictures(2000, KINDS)
validation_x, validation_y = make_pictures(400, KINDS)
light = torch.linspace(-0.5, 0.5, SIZE)
train_x, validation_x = train_x + light, validation_x + light

backbone = Backbone()
backbone.load_state_dict(torch.load("checkpoints/pictures.pt"))
head = nn.Linear(32, len(KINDS))
model = nn.Sequential(backbone, head)

backbone.requires_grad_(False)
optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x), validation_y).item()


print(f"constant {torch.log(torch.tensor(len(KINDS))):.4f}")
for step in range(STEPS):
    if step == UNFREEZE:
        backbone.requires_grad_(True)
        optimizer.add_param_group({"params": list(backbone.parameters()), "lr": BACKBONE_RATE})
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x)
    loss = F.cross_entropy(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
