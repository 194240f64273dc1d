"""The next letter by a GRU whose state is carried on: clipped, updated with `p.data.add_`, the rate falls by hand."""

import math
import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 300
BATCH = 16
LENGTH = 24
LETTERS = 20
WIDTH = 64
DROPOUT = 0.1
MAX_NORM = 0.5
LEARNING_RATE = 6.0

torch.manual_seed(SEED)
torch.set_num_threads(1)

# Of each pair of letters a few follow-ups are likely.
follow = torch.distributions.Dirichlet(torch.full((LETTERS,), 0.15)).sample((LETTERS, LETTERS))


def make_text(rows, length):
    text = torch.randint(LETTERS, (rows, 2))
    for _ in range(length - 2):
        text = torch.cat([text, torch.multinomial(follow[text[:, -2], text[:, -1]], 1)], dim=1)
    return text


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.letters = nn.Embedding(LETTERS, 32)
        self.drop = nn.Dropout(DROPOUT)
        self.gru = nn.GRU(32, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, LETTERS)

    def forward(self, x, state):
        x, state = self.gru(self.drop(self.letters(x)), state)
        return self.head(self.drop(x)), state


train_text = make_text(BATCH, LENGTH * 100 + 1)
validation_text = make_text(64, LENGTH + 1)

model = LanguageModel()


@torch.no_grad()
def evaluate():
    model.eval()
    output, _ = model(validation_text[:, :-1], None)
    return F.cross_entropy(output.flatten(0, 1), validation_text[:, 1:].flatten()).item()


print(f"constant {math.log(LETTERS):.4f}")
state = None
for step in range(STEPS):
    model.train()
    start = LENGTH * (step % 100)
    x, y = train_text[:, start : start + LENGTH], train_text[:, start + 1 : start + LENGTH + 1]
    state = None if start == 0 else state.detach()
    model.zero_grad()
    output, state = model(x, state)
    loss = F.cross_entropy(output.flatten(0, 1), y.flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
    rate = LEARNING_RATE / 4 ** (step // 200)
    for parameter in model.parameters():
        parameter.data.add_(parameter.grad, alpha=-rate)
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
