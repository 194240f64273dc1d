"""A convolutional adversarial network that makes pulses: two bumps with their own heights and places."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
LENGTH, NOISE = 32, 8


def pulses(count):
    place = torch.arange(LENGTH)
    first = torch.exp(-((place - 9 - 2 * torch.randn(count, 1)) ** 2) / 8)
    second = torch.exp(-((place - 22 - torch.randn(count, 1)) ** 2) / 18)
    return (0.8 + 0.2 * torch.randn(count, 1)) * first - 0.5 * second


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.start = nn.Linear(NOISE, 32 * 8)
        self.up = nn.Sequential(
            nn.BatchNorm1d(32), nn.ReLU(), nn.ConvTranspose1d(32, 16, 4, 2, 1),
            nn.BatchNorm1d(16), nn.ReLU(), nn.ConvTranspose1d(16, 1, 4, 2, 1),
        )  # fmt: skip

    def forward(self, z):
        return self.up(self.start(z).view(-1, 32, 8)).squeeze(1)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv1d(1, 16, 5, 2, 2), nn.LeakyReLU(0.2), nn.Conv1d(16, 32, 5, 2, 2), nn.LeakyReLU(0.2)
        )
        self.out = nn.Linear(32 * 8, 1)

    def forward(self, x):
        return self.out(self.down(x.unsqueeze(1)).flatten(1))


def judged(logits, real):
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


generator, discriminator = Generator(), Discriminator()
optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.999))
for step in range(1500):
    real = pulses(64)
    fake = generator(torch.randn(64, NOISE))

    optimizer_g.zero_grad()
    loss_g = judged(discriminator(fake), True)
    loss_g.backward()
    optimizer_g.step()

    optimizer_d.zero_grad()
    loss_d = judged(discriminator(real), True) + judged(discriminator(fake.detach()), False)
    loss_d.backward()
    optimizer_d.step()

    if step % 250 == 0:
        print(f"step {step} generator {loss_g.item():.3f} discriminator {loss_d.item():.3f}")

generator.eval()
with torch.no_grad():
    fake, real, other = generator(torch.randn(1000, NOISE)), pulses(1000), pulses(1000)
    # The energy distance: how much farther real and made ones are from each other than among themselves.
    distance = 2 * torch.cdist(fake, real).mean() - torch.cdist(fake, fake).mean() - torch.cdist(real, other).mean()
print(f"result {distance.item():.4f}")
