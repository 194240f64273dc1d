"""A normalising flow of affine couplings learns the density of two half moons."""

import sys

import torch
from torch import nn

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def moons(count):
    angle, upper = 3.1416 * torch.rand(count), torch.rand(count) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos()) - 0.5
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin()) - 0.25
    return torch.stack([x, y], 1) * 1.5 + 0.1 * torch.randn(count, 2)


class Coupling(nn.Module):
    """One coordinate is shifted and scaled by what the other says."""

    def __init__(self, kept, width=48):
        super().__init__()
        self.kept = kept
        self.net = nn.Sequential(
            nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
        )

    def parts(self, x):
        scale, shift = self.net(x[:, self.kept, None]).unbind(1)
        return 2 * torch.tanh(scale), shift

    def joined(self, x, changed):
        return torch.stack([x[:, 0], changed] if self.kept == 0 else [changed, x[:, 1]], 1)

    def forward(self, x):
        """To the base distribution, and the logarithm of the change of volume."""
        scale, shift = self.parts(x)
        return self.joined(x, (x[:, 1 - self.kept] - shift) * torch.exp(-scale)), -scale

    def inverse(self, z):
        scale, shift = self.parts(z)
        return self.joined(z, z[:, 1 - self.kept] * torch.exp(scale) + shift)


class Flow(nn.Module):
    def __init__(self, couplings=6):
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(index % 2) for index in range(couplings))
        self.base = torch.distributions.Normal(0.0, 1.0)

    def log_prob(self, x):
        log_det = torch.zeros(len(x))
        for coupling in self.couplings:
            x, change = coupling(x)
            log_det = log_det + change
        return self.base.log_prob(x).sum(1) + log_det

    def sample(self, count):
        z = self.base.sample((count, 2))
        for coupling in reversed(self.couplings):
            z = coupling.inverse(z)
        return z


flow = Flow()
optimizer = torch.optim.Adam(flow.parameters(), lr=2e-3)
for step in range(800):
    loss = -flow.log_prob(moons(128)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        with torch.no_grad():
            print(f"step {step} loss {loss.item():.3f} validation {-flow.log_prob(moons(500)).mean().item():.3f}")
with torch.no_grad():
    made, real, other = flow.sample(1000), moons(1000), moons(1000)
    # The energy distance: how much farther real and made ones are from each other than among themselves.
    distance = 2 * torch.cdist(made, real).mean() - torch.cdist(made, made).mean() - torch.cdist(real, other).mean()
print(f"result {distance.item():.4f}")
