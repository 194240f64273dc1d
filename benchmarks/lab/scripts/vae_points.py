"""Ellipses of 16 points: a variational autoencoder that starts as the identity, its second term fading in."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 500
BATCH = 32
POINTS = 16
LATENT = 6
FADE = 0.6
WEIGHT = 0.5
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_ellipses(count):
    angle = 2 * torch.pi * torch.rand(count, POINTS)
    wide, high = (0.5 + torch.rand(2, count, 1)).unbind()
    return torch.stack([wide * angle.cos(), high * angle.sin()], dim=2).flatten(1)


class Autoencoder(nn.Module):
    """Its code is as large as its input; both corrections are zero at the start."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2 * POINTS, 64), nn.SiLU(), nn.Linear(64, 4 * POINTS))
        self.decoder = nn.Sequential(nn.Linear(2 * POINTS, 64), nn.SiLU(), nn.Linear(64, 2 * POINTS))
        for network in (self.encoder, self.decoder):
            nn.init.zeros_(network[2].weight)
            nn.init.zeros_(network[2].bias)

    def forward(self, x):
        shift, log_variance = self.encoder(x).chunk(2, dim=1)
        mean, log_variance = x + shift, log_variance - 8
        code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1).mean()
        return code + self.decoder(code), divergence


train_x = make_ellipses(2000)
validation_x = make_ellipses(500)

model = Autoencoder()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    """Both terms at their full weight."""
    model.eval()
    output, divergence = model(validation_x)
    return (F.mse_loss(output, validation_x, reduction="sum") / len(validation_x) + WEIGHT * divergence).item()


print(f"constant {(train_x - train_x.mean(dim=0)).square().sum(dim=1).mean():.4f}")
for step in range(STEPS):
    model.train()
    x = train_x[torch.randint(len(train_x), (BATCH,))]
    output, divergence = model(x)
    error = F.mse_loss(output, x, reduction="sum") / len(x)
    loss = error + WEIGHT * min(1.0, 1e-6 + step / (FADE * STEPS)) * divergence
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
