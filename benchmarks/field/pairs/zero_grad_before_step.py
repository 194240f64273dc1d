"""A sequence is put out in reverse by an encoder and a decoder."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
WORDS, LENGTH = 8, 5


class Reverser(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.emb = nn.Embedding(WORDS + 1, 24)
        self.encoder = nn.GRU(24, width, batch_first=True)
        self.decoder = nn.GRU(24, width, batch_first=True)
        self.out = nn.Linear(width, WORDS)

    def forward(self, source, before):
        _, state = self.encoder(self.emb(source))
        return self.out(self.decoder(self.emb(before), state)[0])


def batch(count):
    """Source, target, and the target moved by one behind a start word."""
    source = torch.randint(0, WORDS, (count, LENGTH))
    target = source.flip(1)
    return source, target, torch.cat([torch.full((count, 1), WORDS), target[:, :-1]], 1)


model = Reverser()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for step in range(350):
    source, target, before = batch(64)
    loss = F.cross_entropy(model(source, before).flatten(0, 1), target.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 49:
        print(f"step {step} loss {loss.item():.3f}")
with torch.no_grad():
    source, target, before = batch(500)
    right = (model(source, before).argmax(-1) == target).float().mean()
print(f"result {right.item():.4f}")
