"""A conditional generator with an adversarial and an absolute loss; the answer to a condition is one of two."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
COUNT = 3000


def network(outputs):
    return nn.Sequential(
        nn.Linear(3, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, outputs)
    )


condition = torch.rand(COUNT, 1) * 2 - 1
sign = torch.where(torch.rand(COUNT, 1) < 0.5, 1.0, -1.0)
real = torch.cat([condition, sign * (1 + 0.3 * condition)], 1) + 0.05 * torch.randn(COUNT, 2)
generator, discriminator = network(2), network(1)
optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.999))
for _ in range(1000):
    rows = torch.randint(0, COUNT, (64,))
    c, x = condition[rows], real[rows]
    fake = generator(torch.cat([c, torch.randn(64, 2)], 1))
    judged = discriminator(torch.cat([fake, c], 1))
    adversarial = F.mse_loss(judged, torch.ones_like(judged))
    optimizer_g.zero_grad()
    (adversarial + 0.05 * F.l1_loss(fake, x)).backward()
    optimizer_g.step()
    of_real = discriminator(torch.cat([x, c], 1))
    of_fake = discriminator(torch.cat([fake.detach(), c], 1))
    loss = 0.5 * (F.mse_loss(of_real, torch.ones_like(of_real)) + F.mse_loss(of_fake, torch.zeros_like(of_fake)))
    optimizer_d.zero_grad()
    loss.backward()
    optimizer_d.step()
with torch.no_grad():
    made = generator(torch.cat([condition[:1000], torch.randn(1000, 2)], 1))[:, 1]
near = (made.abs() - (1 + 0.3 * condition[:1000, 0])).abs() < 0.3
print(f"result {near.float().mean().item():.4f}")
