"""A transformer whose head is trained first, then all of it by a new optimizer; layers are recomputed in backward."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


class Sorter(nn.Module):
    """Says of each number whether it is above the mean of its row."""

    def __init__(self, width=32):
        super().__init__()
        self.inp = nn.Linear(1, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 64, dropout=0.0, batch_first=True) for _ in range(2)
        )
        self.out = nn.Linear(width, 1)

    def forward(self, x):
        x = self.inp(x.unsqueeze(-1))
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False)
        return self.out(x).squeeze(-1)


def batch(count):
    x = torch.randn(count, 10) + torch.randn(count, 1)
    return x, (x > x.mean(1, keepdim=True)).float()


model = Sorter()
for parameters, rate, steps in ((model.out.parameters(), 1e-2, 60), (model.parameters(), 1e-3, 240)):
    optimizer = torch.optim.AdamW(parameters, lr=rate)
    for step in range(steps):
        x, y = batch(48)
        loss = F.binary_cross_entropy_with_logits(model(x), y)
        model.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 60 == 59:
            print(f"step {step} loss {loss.item():.3f}")
with torch.no_grad():
    x, y = batch(500)
    print(f"result {((model(x) > 0).float() == y).float().mean().item():.4f}")
