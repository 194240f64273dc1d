"""Eight Gaussians on a ring: a generative adversarial network, two Adam optimizers."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 500
BATCH = 64
LATENT = 8
WIDTH = 64
LEARNING_RATE = 2e-3
BETAS = (0.5, 0.999)

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_points(count):
    angle = torch.randint(8, (count,)) * torch.pi / 4
    return torch.stack([angle.cos(), angle.sin()], dim=1) + 0.2 * torch.randn(count, 2)


generator = nn.Sequential(
    nn.Linear(LATENT, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, 2),
)
discriminator = nn.Sequential(
    nn.Linear(2, WIDTH),
    nn.LeakyReLU(0.2),
    nn.Linear(WIDTH, WIDTH),
    nn.LeakyReLU(0.2),
    nn.Linear(WIDTH, 1),
)
optimizer_g = torch.optim.Adam(generator.parameters(), lr=LEARNING_RATE, betas=BETAS)
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=LEARNING_RATE, betas=BETAS)
ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)


@torch.no_grad()
def distance():
    """Sliced Wasserstein distance between real and generated points: small when the ring is found."""
    directions = F.normalize(torch.randn(2, 32), dim=0)
    real, fake = make_points(1000) @ directions, generator(torch.randn(1000, LATENT)) @ directions
    return (real.sort(dim=0).values - fake.sort(dim=0).values).abs().mean().item()


print("constant 0.6400")  # the distance of a generator of zeros: mean |cos| = 2 / pi
for step in range(STEPS):
    real = make_points(BATCH)
    fake = generator(torch.randn(BATCH, LATENT))
    real_score = discriminator(real)
    fake_score = discriminator(fake.detach())
    loss_d = F.binary_cross_entropy_with_logits(real_score, ones)
    loss_d = loss_d + F.binary_cross_entropy_with_logits(fake_score, zeros)
    optimizer_d.zero_grad()
    loss_d.backward()
    optimizer_d.step()

    loss_g = F.binary_cross_entropy_with_logits(discriminator(fake), ones)
    optimizer_g.zero_grad()
    loss_g.backward()
    optimizer_g.step()
    if step % 20 == 0:
        print(f"step {step} train {loss_d.item():.4f} validation {distance():.4f}")
print(f"final validation {distance():.4f}")
