"""A denoising diffusion model of a spiral: residual blocks that know the time by sines and cosines."""

import argparse

import torch
from torch import nn
from torch.nn import functional as F


def spiral(count):
    turn = 0.25 + 0.75 * torch.rand(count).sqrt()
    angle = 9.42 * turn
    points = 1.6 * turn[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return points + 0.04 * torch.randn(count, 2)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.time = nn.Linear(width, 2 * width)

    def forward(self, x, time):
        return x + self.down(F.gelu(self.up(self.norm(x)) + self.time(time)))


class Denoiser(nn.Module):
    def __init__(self, width=64, depth=3):
        super().__init__()
        self.register_buffer("rates", torch.exp(torch.linspace(0, -7, width // 2)))
        self.first, self.last = nn.Linear(2, width), nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2))
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, x, time):
        angle = time[:, None] * self.rates
        time = torch.cat([angle.sin(), angle.cos()], 1)
        x = self.first(x)
        for block in self.blocks:
            x = block(x, time)
        return self.last(x)


class Diffusion:
    """The forward process in closed form, and the reverse one step by step."""

    def __init__(self, steps=80):
        self.steps, self.beta = steps, torch.linspace(1e-3, 0.1, steps)
        self.alpha = 1 - self.beta
        alpha_bar = torch.cumprod(self.alpha, 0)
        self.sqrt_alpha_bar = alpha_bar**0.5
        self.sqrt_1m_alpha_bar = (1 - alpha_bar) ** 0.5

    def noisy(self, x, time, noise):
        return self.sqrt_alpha_bar[time, None] * x + self.sqrt_1m_alpha_bar[time, None] * noise

    @torch.no_grad()
    def sample(self, model, count):
        x = torch.randn(count, 2)
        alpha_bar = torch.cumprod(self.alpha, 0)
        for step in reversed(range(self.steps)):
            noise = model(x, torch.full((count,), step))
            x = (x - self.beta[step] / (1 - alpha_bar[step]) ** 0.5 * noise) / self.alpha[step] ** 0.5
            if step > 0:
                x = x + self.beta[step] ** 0.5 * torch.randn_like(x)
        return x


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--steps", type=int, default=2000)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model, diffusion = Denoiser(), Diffusion()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, args.steps)
    for step in range(args.steps):
        x, time, noise = spiral(128), torch.randint(0, diffusion.steps, (128,)), torch.randn(128, 2)
        loss = F.mse_loss(model(diffusion.noisy(x, time, noise), time), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step % 250 == 0:
            print(f"step {step} loss {loss.item():.4f}")
    model.eval()
    made, real = diffusion.sample(model, 1500), spiral(3000)
    print(f"result {torch.cdist(made, real).amin(1).mean().item():.4f}")


if __name__ == "__main__":
    main()
