"""Points on two half moons: a Wasserstein GAN with gradient penalty, three steps of the critic for each one."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 250
CRITIC_STEPS = 3
BATCH = 64
LATENT = 4
WIDTH = 64
PENALTY = 1.0
LEARNING_RATE = 2e-3
BETAS = (0.0, 0.9)

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_points(count):
    angle, upper = torch.pi * torch.rand(count), torch.rand(count) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos()) - 0.5
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin()) - 0.25
    return torch.stack([x, y], dim=1) + 0.1 * torch.randn(count, 2)


generator = nn.Sequential(
    nn.Linear(LATENT, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, 2),
)
critic = nn.Sequential(
    nn.Linear(2, WIDTH),
    nn.LeakyReLU(0.2),
    nn.Linear(WIDTH, WIDTH),
    nn.LeakyReLU(0.2),
    nn.Linear(WIDTH, 1),
)
optimizer = torch.optim.Adam(generator.parameters(), lr=LEARNING_RATE, betas=BETAS)
optimizer_c = torch.optim.Adam(critic.parameters(), lr=LEARNING_RATE, betas=BETAS)


@torch.no_grad()
def distance():
    """Sliced Wasserstein distance between real and generated points."""
    directions = F.normalize(torch.randn(2, 32), dim=0)
    real, fake = make_points(1000) @ directions, generator(torch.randn(1000, LATENT)) @ directions
    return (real.sort(dim=0).values - fake.sort(dim=0).values).abs().mean().item()


def slope_penalty(real, fake):
    share = torch.rand(len(real), 1)
    between = (share * real + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


directions = F.normalize(torch.randn(2, 32), dim=0)
print(f"constant {(make_points(1000) @ directions).abs().mean():.4f}")  # the distance of a generator of zeros
for step in range(STEPS):
    generator.train()
    for _ in range(CRITIC_STEPS):
        real, fake = make_points(BATCH), generator(torch.randn(BATCH, LATENT)).detach()
        loss_c = critic(fake).mean() - critic(real).mean() + PENALTY * slope_penalty(real, fake)
        optimizer_c.zero_grad()
        loss_c.backward()
        optimizer_c.step()

    loss = -critic(generator(torch.randn(BATCH, LATENT))).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {distance():.4f}")
print(f"final validation {distance():.4f}")
