"""Physics-informed network for a damped oscillator: derivatives by double backward, two weighted terms, no data."""

import argparse

import torch
from torch import nn

DAMPING, OMEGA = 0.4, 3.0


class Field(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
        )

    def forward(self, t):
        return self.net(t)


def derivative(y, t):
    return torch.autograd.grad(y, t, torch.ones_like(y), create_graph=True)[0]


def residual(model, t):
    t = t.requires_grad_(True)
    y = model(t)
    velocity = derivative(y, t)
    return derivative(velocity, t) + 2 * DAMPING * velocity + OMEGA**2 * y


def initial_terms(model):
    t = torch.zeros(1, 1, requires_grad=True)
    y = model(t)
    return (y - 1).pow(2).mean(), derivative(y, t).pow(2).mean()


def solution(t):
    rate = (OMEGA**2 - DAMPING**2) ** 0.5
    return torch.exp(-DAMPING * t) * (torch.cos(rate * t) + DAMPING / rate * torch.sin(rate * t))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--steps", type=int, default=2500)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = Field()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.999)
    grid = torch.linspace(0, 3, 200)[:, None]
    for step in range(args.steps):
        physics = residual(model, 3 * torch.rand(64, 1)).pow(2).mean()
        place, speed = initial_terms(model)
        loss = physics + 100 * place + 10 * speed
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if (step + 1) % 500 == 0:
            with torch.no_grad():
                error = (model(grid) - solution(grid)).pow(2).mean().sqrt().item()
            print(f"{step + 1} loss {loss.item():.5f} physics {physics.item():.5f} error {error:.4f}")
    print(f"result {error:.4f}")


if __name__ == "__main__":
    main()
