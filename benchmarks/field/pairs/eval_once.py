"""A U-Net marks the pixels of bright rings; it is evaluated every ten steps."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def rings(count):
    """Images of 16 x 16 pixels with a ring and a disc of the same brightness: only the ring counts."""
    place = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij"))
    ring, disc = [(place - 2 - 12 * torch.rand(count, 2, 1, 1)).norm(dim=1) for _ in range(2)]
    mask = (ring > 2) & (ring < 4)
    x = (mask | (disc < 3)).float() + 0.4 * torch.randn(count, 16, 16)
    return x[:, None], mask[:, None].float()


def block(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), nn.Dropout2d(0.1)
    )


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.deep, self.up = block(1, 12), block(12, 24), block(36, 12)
        self.out = nn.Conv2d(12, 1, 1)

    def forward(self, x):
        fine = self.down(x)
        coarse = F.interpolate(self.deep(F.max_pool2d(fine, 2)), scale_factor=2)
        return self.out(self.up(torch.cat([fine, coarse], 1)))


def overlap():
    model.eval()
    with torch.no_grad():
        marked = model(others) > 0
    return ((marked & (wanted > 0)).sum() / (marked | (wanted > 0)).sum()).item()


x, masks = rings(400)
others, wanted = rings(100)
model = UNet()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for step in range(240):
    model.train()
    rows = torch.randint(0, 400, (16,))
    loss = F.binary_cross_entropy_with_logits(model(x[rows]), masks[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(f"step {step} overlap {overlap():.3f}")
print(f"result {overlap():.4f}")
