"""WGAN with gradient penalty on a ring of eight Gaussians."""

import argparse
import math

import torch
from torch import autograd, nn, optim

BATCH, NOISE, CRITIC_ITERS = 128, 8, 3


def real_batch(n):
    angle = torch.randint(0, 8, (n,)) * (2 * math.pi / 8)
    return torch.stack([angle.cos(), angle.sin()], 1) * 2 + 0.05 * torch.randn(n, 2)


def mlp(cin, cout, width=96):
    return nn.Sequential(
        nn.Linear(cin, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, cout)
    )  # fmt: skip


def gradient_penalty(critic, real, fake):
    alpha = torch.rand(real.size(0), 1).expand_as(real)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    score = critic(mixed)
    grads = autograd.grad(
        outputs=score,
        inputs=mixed,
        grad_outputs=torch.ones_like(score),
        create_graph=True,
        retain_graph=True,
    )[0]
    return ((grads.norm(2, dim=1) - 1) ** 2).mean()


def quality(generator):
    """Mean distance of generated points to the nearest centre, and centres that are reached."""
    with torch.no_grad():
        points = generator(torch.randn(2000, NOISE))
    angle = torch.arange(8) * (2 * math.pi / 8)
    centres = torch.stack([angle.cos(), angle.sin()], 1) * 2
    distance, nearest = torch.cdist(points, centres).min(1)
    reached = sum(((nearest == k) & (distance < 0.4)).sum().item() > 20 for k in range(8))
    return distance.mean().item(), reached


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--iterations", type=int, default=1200)
    parser.add_argument("--lam", type=float, default=1.0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    generator, critic = mlp(NOISE, 2), mlp(2, 1)
    opt_g = optim.Adam(generator.parameters(), lr=5e-4, betas=(0.5, 0.9))
    opt_d = optim.Adam(critic.parameters(), lr=5e-4, betas=(0.5, 0.9))
    for i in range(args.iterations):
        for _ in range(CRITIC_ITERS):
            real = real_batch(BATCH)
            fake = generator(torch.randn(BATCH, NOISE)).detach()
            gp = gradient_penalty(critic, real, fake)
            d_loss = critic(fake).mean() - critic(real).mean() + args.lam * gp
            opt_d.zero_grad()
            d_loss.backward()
            opt_d.step()
        g_loss = -critic(generator(torch.randn(BATCH, NOISE))).mean()
        opt_g.zero_grad()
        g_loss.backward()
        opt_g.step()
        if (i + 1) % 200 == 0:
            distance, reached = quality(generator)
            print(f"{i + 1}: D {d_loss.item():.2f} G {g_loss.item():.2f} gp {gp.item():.3f} distance {distance:.3f}")
    distance, reached = quality(generator)
    print(f"modes {reached}")
    print(f"result {distance:.3f}")


if __name__ == "__main__":
    main()
