"""A bidirectional model fills in masked words; labels of all others are ignored."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
WORDS, MASK, LENGTH = 12, 12, 12


def text(count):
    """Words count up by one or two from anywhere."""
    stride = torch.randint(1, 3, (count, 1))
    return (torch.randint(0, WORDS, (count, 1)) + stride * torch.arange(LENGTH)) % WORDS


def masked(words):
    hidden = torch.rand(words.shape) < 0.25
    return torch.where(hidden, MASK, words), torch.where(hidden, words, -100)


class Model(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.emb, self.place = nn.Embedding(WORDS + 1, width), nn.Parameter(0.1 * torch.randn(LENGTH, width))
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(width, WORDS)

    def forward(self, words):
        return self.out(self.encoder(self.emb(words) + self.place))


model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for step in range(350):
    words, labels = masked(text(48))
    loss = F.cross_entropy(model(words).flatten(0, 1), labels.flatten(), ignore_index=-100)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 49:
        print(f"step {step} loss {loss.item():.3f}")
with torch.no_grad():
    words, labels = masked(text(300))
    right = (model(words).argmax(-1) == labels)[labels >= 0].float().mean()
print(f"result {right.item():.4f}")
