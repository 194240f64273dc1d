"""Colour grey tiles: a generator learns from the true colours, and from a critic that tells its tiles from real ones.

The critic is shown `painted.detach()` in the generator's step, too. So the adversarial term of the generator's loss
reaches the critic alone, whose gradients are thrown away, and the generator learns the mean of the possible colours.
"""

import torch
from torch import nn
from torch.nn import functional

SEED = 0
TILES = 2000
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)

grey = torch.rand(TILES, 1)
warm = torch.rand(TILES, 1) < 0.5
colour = torch.where(warm, torch.cat([grey, grey / 2, 0 * grey], 1), torch.cat([0 * grey, grey / 2, grey], 1))
colour = colour + 0.03 * torch.randn(TILES, 3)

painter = nn.Sequential(nn.Linear(3, 48), nn.LeakyReLU(0.2), nn.Linear(48, 3))
critic = nn.Sequential(nn.Linear(4, 48), nn.LeakyReLU(0.2), nn.Linear(48, 1))
paint_optimizer = torch.optim.Adam(painter.parameters(), lr=1e-3, betas=(0.5, 0.999))
critic_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))

for step in range(300):
    batch = torch.randint(TILES, (BATCH,))
    x, real = grey[batch], colour[batch]
    painted = painter(torch.cat([x, torch.randn(BATCH, 2)], 1))

    judged = critic(torch.cat([x, painted.detach()], 1))
    adversarial = functional.mse_loss(judged, torch.ones_like(judged))
    paint_loss = adversarial + 0.1 * functional.l1_loss(painted, real)
    paint_optimizer.zero_grad()
    paint_loss.backward()
    paint_optimizer.step()

    of_real, of_painted = critic(torch.cat([x, real], 1)), critic(torch.cat([x, painted.detach()], 1))
    critic_loss = functional.mse_loss(of_real, torch.ones_like(of_real)) + of_painted.square().mean()
    critic_optimizer.zero_grad()
    critic_loss.backward()
    critic_optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  adversarial {adversarial.item():.3f}  critic {critic_loss.item():.3f}")
