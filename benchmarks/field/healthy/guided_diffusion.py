"""A diffusion model of points of four kinds, with guidance: in one of six examples the kind is left out."""

import copy
import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
KINDS, STEPS = 4, 60
BETAS = torch.linspace(1e-3, 0.12, STEPS)
KEPT = torch.cumprod(1 - BETAS, 0)


def points(count):
    """Each kind is an arc of its own."""
    kind = torch.randint(0, KINDS, (count,))
    angle = 1.57 * kind + 1.2 * torch.rand(count)
    return 1.4 * torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(count, 2), kind


class Denoiser(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.kind, self.time = nn.Embedding(KINDS + 1, 16), nn.Embedding(STEPS, 16)
        self.net = nn.Sequential(
            nn.Linear(34, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, 2),
        )  # fmt: skip

    def forward(self, x, time, kind):
        return self.net(torch.cat([x, self.time(time), self.kind(kind)], 1))


@torch.no_grad()
def sample(model, kind, guidance=1.0):
    x, nothing = torch.randn(len(kind), 2), torch.full_like(kind, KINDS)
    for step in reversed(range(STEPS)):
        time = torch.full_like(kind, step)
        with_kind, without = model(x, time, kind), model(x, time, nothing)
        noise = with_kind + guidance * (with_kind - without)
        x = (x - BETAS[step] / (1 - KEPT[step]).sqrt() * noise) / (1 - BETAS[step]).sqrt()
        if step:
            x = x + BETAS[step].sqrt() * torch.randn_like(x)
    return x


model = Denoiser()
average = copy.deepcopy(model).requires_grad_(False)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
for step in range(2000):
    x, kind = points(128)
    time, noise = torch.randint(0, STEPS, (128,)), torch.randn(128, 2)
    kind = torch.where(torch.rand(128) < 1 / 6, KINDS, kind)
    kept = KEPT[time, None]
    loss = F.mse_loss(model(kept.sqrt() * x + (1 - kept).sqrt() * noise, time, kind), noise)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for ours, theirs in zip(model.parameters(), average.parameters(), strict=True):
            theirs.lerp_(ours, max(0.01, 1 / (step + 1)))
    if step % 400 == 399:
        print(f"step {step} loss {loss.item():.4f}")
true, kind = points(1000)
made = sample(average, kind)
print(f"result {((made - true).norm(dim=1) < 1.5).float().mean().item():.4f}")
