"""An autoencoder with a book of codes; gradients pass the nearest code straight through."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
centres = torch.randn(12, 16)


class VQ(nn.Module):
    def __init__(self, codes=24, width=8):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, width))
        self.dec = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 16))
        self.book = nn.Embedding(codes, width)

    def forward(self, x):
        z = self.enc(x)
        code = self.book(torch.cdist(z, self.book.weight).argmin(1))
        terms = F.mse_loss(code, z.detach()) + 0.25 * F.mse_loss(z, code.detach())
        return self.dec(z + (code - z).detach()), terms


def batch(count):
    return centres[torch.randint(0, 12, (count,))] + 0.2 * torch.randn(count, 16)


model = VQ()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for step in range(500):
    x = batch(64)
    output, terms = model(x)
    loss = F.mse_loss(output, x) + terms
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 99:
        print(f"step {step} loss {loss.item():.3f}")
with torch.no_grad():
    x = batch(500)
    print(f"result {F.mse_loss(model(x)[0], x).item():.4f}")
