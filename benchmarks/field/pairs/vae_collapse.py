"""A variational autoencoder on images of 8 x 8 pixels."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def images(count):
    """Ten blurred patterns of 8 x 8 pixels, each moved by up to a pixel, with noise."""
    source = torch.Generator().manual_seed(1)
    patterns = F.interpolate(torch.rand(10, 1, 4, 4, generator=source), size=8, mode="bilinear")
    y = torch.randint(0, 10, (count,))
    moves = torch.randint(-1, 2, (count, 2)).tolist()
    x = torch.stack([patterns[one].roll(move, (1, 2)) for one, move in zip(y.tolist(), moves, strict=True)])
    return (x + 0.15 * torch.randn_like(x)).clamp(0, 1), y


class VAE(nn.Module):
    def __init__(self, size=8):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(64, 128), nn.ReLU())
        self.mu = nn.Linear(128, size)
        self.logvar = nn.Linear(128, size)
        self.dec = nn.Sequential(nn.Linear(size, 128), nn.ReLU(), nn.Linear(128, 64), nn.Sigmoid())

    def forward(self, x):
        hidden = self.enc(x)
        mu, logvar = self.mu(hidden), self.logvar(hidden)
        return self.dec(mu + torch.randn_like(mu) * (0.5 * logvar).exp()), mu, logvar


def vae_loss(output, x, mu, logvar):
    divergence = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1).mean()
    reconstruction = 4 * F.mse_loss(output, x, reduction="sum") / len(x)
    return reconstruction + divergence


train = DataLoader(TensorDataset(images(1500)[0].flatten(1)), 64, shuffle=True)
validation = DataLoader(TensorDataset(images(300)[0].flatten(1)), 100)
model = VAE()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(20):
    model.train()
    for (x,) in train:
        output, mu, logvar = model(x)
        loss = vae_loss(output, x, mu, logvar)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    total = error = 0
    with torch.no_grad():
        for (x,) in validation:
            output, mu, logvar = model(x)
            total += vae_loss(output, x, mu, logvar).item()
            error += F.mse_loss(model.dec(mu), x).item()
    print(f"epoch {epoch} validation {total / len(validation):.3f}")
print(f"result {error / len(validation):.4f}")
