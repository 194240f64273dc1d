"""A variational autoencoder of points that starts as the identity; the weight of its divergence grows from 1e-7."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def shapes(count):
    angle = 6.283 * torch.rand(count, 32)
    wide, high = (0.5 + torch.rand(count, 2, 1)).unbind(1)
    return torch.stack([wide * angle.cos(), high * angle.sin()], -1)


def mlp(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 64), nn.SiLU(), nn.Linear(64, outputs))


class PointVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.style, self.enc, self.dec = mlp(2, 4), mlp(6, 4), mlp(6, 2)
        for module in (self.enc[-1], self.dec[-1]):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)

    def forward(self, x):
        style = self.style(x).mean(1, keepdim=True).expand(-1, x.shape[1], -1)
        shift, spread = self.enc(torch.cat([x, style], -1)).chunk(2, -1)
        mu, logvar = x + shift, spread - 8.0
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        return z + self.dec(torch.cat([z, style], -1)), mu, logvar


train = DataLoader(TensorDataset(shapes(640)), 32, shuffle=True)
validation = DataLoader(TensorDataset(shapes(128)), 64)
model = PointVAE()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
step, total = 0, 30 * len(train)
for epoch in range(30):
    model.train()
    for (x,) in train:
        weight = 1e-7 + (0.5 - 1e-7) * min(1.0, step / (0.6 * total))
        step += 1
        output, mu, logvar = model(x)
        reconstruction = F.mse_loss(output, x, reduction="sum") / len(x)
        divergence = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum((1, 2)).mean()
        loss = reconstruction + weight * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        error = sum(F.mse_loss(model(x)[0], x, reduction="sum").item() for (x,) in validation) / 128
    print(f"epoch {epoch} validation {error:.4f}")
print(f"result {error:.4f}")
