"""Which pixels belong to a disc or to a bar: a U-Net with group normalisation and skip connections, AdamW."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 200
BATCH = 16
SIZE = 16
WIDTH = 8
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_pictures(count):
    """Pictures, and for each pixel 0 background, 1 disc, 2 bar."""
    y, x = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    disc, bar = SIZE * torch.rand(2, count, 2, 1, 1)
    masks = torch.zeros(count, SIZE, SIZE, dtype=torch.long)
    masks[((x - disc[:, 0]) ** 2 + (y - disc[:, 1]) ** 2) < 16] = 1
    masks[((x - bar[:, 0]).abs() < 1.5) & ((y - bar[:, 1]).abs() < 5)] = 2
    pictures = (masks > 0).float() + 0.5 * torch.randn(count, SIZE, SIZE)
    return pictures[:, None], masks


def convolution(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(4, outputs), nn.SiLU())


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1 = convolution(1, WIDTH)
        self.down2 = convolution(WIDTH, 2 * WIDTH)
        self.bottom = convolution(2 * WIDTH, 4 * WIDTH)
        self.up2 = convolution(6 * WIDTH, 2 * WIDTH)
        self.up1 = convolution(3 * WIDTH, WIDTH)
        self.head = nn.Conv2d(WIDTH, 3, 1)

    def forward(self, x):
        fine = self.down1(x)
        coarse = self.down2(F.max_pool2d(fine, 2))
        x = self.bottom(F.max_pool2d(coarse, 2))
        x = self.up2(torch.cat([F.interpolate(x, scale_factor=2), coarse], dim=1))
        x = self.up1(torch.cat([F.interpolate(x, scale_factor=2), fine], dim=1))
        return self.head(x)


train_x, train_y = make_pictures(1500)
validation_x, validation_y = make_pictures(150)

model = UNet()
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x), validation_y).item()


shares = torch.bincount(train_y.flatten()) / train_y.numel()
print(f"constant {-(shares * shares.log()).sum():.4f}")
for step in range(STEPS):
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
