"""Teach a GRU to write additions, character by character.

The learning rate is wrong: 0.7 is a good rate for SGD (Sutskever et al., 2014) and was kept when the optimizer became
Adam, whose first update moves every weight by the rate itself: ten times the weights.
"""

import torch
from torch import nn
from torch.nn import functional as F

SEED = 0
ALPHABET = "0123456789+= "
LENGTH = 24
BATCH = 32

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_lines(count):
    """Text such as "17+5=22 40+31=71 ", cut to LENGTH + 1 characters a line."""
    a, b = torch.randint(0, 100, (2, count, 5)).tolist()
    lines = [" ".join(f"{i}+{j}={i + j}" for i, j in zip(*pair, strict=True)) for pair in zip(a, b, strict=True)]
    return torch.tensor([[ALPHABET.index(c) for c in line[: LENGTH + 1]] for line in lines])


class CharGRU(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.embedding = nn.Embedding(len(ALPHABET), 16)
        self.gru = nn.GRU(16, width, batch_first=True)
        self.head = nn.Linear(width, len(ALPHABET))

    def forward(self, characters):
        hidden, _ = self.gru(self.embedding(characters))
        return self.head(hidden)


def next_character_loss(model, lines):
    return F.cross_entropy(model(lines[:, :-1]).flatten(0, 1), lines[:, 1:].flatten())


@torch.no_grad()
def evaluate(model, lines):
    model.eval()
    loss = next_character_loss(model, lines)
    model.train()
    return loss.item()


train_lines, val_lines = make_lines(2000), make_lines(200)
model = CharGRU()
optimizer = torch.optim.Adam(model.parameters(), lr=0.7)

for step in range(300):
    if step % 20 == 0:
        val_loss = evaluate(model, val_lines)
    batch = train_lines[torch.randint(len(train_lines), (BATCH,))]
    loss = next_character_loss(model, batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")

print(f"final  val loss {evaluate(model, val_lines):.3f}")
