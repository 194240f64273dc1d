"""Characters of an artificial language: a GRU under RMSprop, random windows, a step schedule."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 300
BATCH = 20
LENGTH = 32
WORDS = 60
LETTERS = 16
WIDTH = 64
LEARNING_RATE = 3e-3
MAX_NORM = 2.0

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_text(length):
    """Characters of sentences over a random vocabulary, in which each word has four likely successors."""
    words = ["".join("abcdefghijklmno"[i] for i in torch.randint(15, (int(n),))) for n in torch.randint(2, 6, (WORDS,))]
    successors = torch.randint(WORDS, (WORDS, 4))
    word, text = 0, []
    while len(text) < length:
        word = int(successors[word, torch.randint(4, (1,))])
        text.extend(words[word] + " ")
    return torch.tensor([" abcdefghijklmno".index(letter) for letter in text[:length]])


def make_batch(text, count):
    starts = torch.randint(len(text) - LENGTH - 1, (count, 1))
    window = text[starts + torch.arange(LENGTH + 1)]
    return window[:, :-1], window[:, 1:]


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, 24)
        self.gru = nn.GRU(24, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, LETTERS)

    def forward(self, letters):
        x = self.embedding(letters)
        x, _ = self.gru(x)
        return self.head(x)


text = make_text(30_000)
train_text, validation_text = text[:27_000], text[27_000:]
validation_x, validation_y = make_batch(validation_text, 32)

model = LanguageModel()
optimizer = torch.optim.RMSprop(model.parameters(), lr=LEARNING_RATE)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 100, gamma=0.4)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x).flatten(0, 1), validation_y.flatten()).item()


shares = torch.bincount(train_text, minlength=LETTERS) / len(train_text)
print(f"constant {-torch.special.xlogy(shares, shares).sum():.4f}")
for step in range(STEPS):
    model.train()
    x, y = make_batch(train_text, BATCH)
    output = model(x)
    loss = F.cross_entropy(output.flatten(0, 1), y.flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
    optimizer.step()
    scheduler.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
