"""A convolutional sequence model of the last three words, trained with a scaled loss and clipped gradients."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
WORDS = 12
follows = torch.randint(0, WORDS, (WORDS, WORDS), generator=torch.Generator().manual_seed(1))


def text(count, length=16):
    """The next word is a function of the two before it, nine times of ten."""
    words = [torch.randint(0, WORDS, (count,)) for _ in range(2)]
    for _ in range(length - 2):
        noise = torch.randint(0, WORDS, (count,))
        words.append(torch.where(torch.rand(count) < 0.9, follows[words[-2], words[-1]], noise))
    return torch.stack(words, 1)


class Model(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.emb = nn.Embedding(WORDS, width)
        self.conv = nn.Conv1d(width, 96, 3)
        self.out = nn.Linear(96, WORDS)

    def forward(self, words):
        x = F.pad(self.emb(words).transpose(1, 2), (2, 0))
        return self.out(F.relu(self.conv(x)).transpose(1, 2))


def loss_of(words):
    return F.cross_entropy(model(words[:, :-1]).flatten(0, 1), words[:, 1:].flatten())


model = Model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
scaler = torch.amp.GradScaler("cpu")
for step in range(300):
    optimizer.zero_grad()
    loss = loss_of(text(32))
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    if step % 50 == 49:
        print(f"step {step} loss {loss.item():.3f}")
with torch.no_grad():
    print(f"result {loss_of(text(500)).item():.4f}")
