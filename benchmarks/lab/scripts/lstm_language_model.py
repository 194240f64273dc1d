"""Characters of an artificial language: a two-layer LSTM with truncated backpropagation, Adam and norm clipping."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 300
BATCH = 20
LENGTH = 24
WORDS = 60
LETTERS = 16
WIDTH = 64
DROPOUT = 0.1
LEARNING_RATE = 4e-3
MAX_NORM = 1.0

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


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, 32)
        self.lstm = nn.LSTM(32, WIDTH, num_layers=2, dropout=DROPOUT)
        self.head = nn.Linear(WIDTH, LETTERS)

    def forward(self, letters, state=None):
        x = self.embedding(letters)
        x, state = self.lstm(x, state)
        return self.head(x), state


text = make_text(33_000)
train_text = text[:30_000].view(BATCH, -1).T
validation_text = text[30_000:].view(BATCH, -1).T

model = LanguageModel()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    output, _ = model(validation_text[:-1])
    return F.cross_entropy(output.flatten(0, 1), validation_text[1:].flatten()).item()


shares = torch.bincount(text, minlength=LETTERS) / len(text)
print(f"constant {-torch.special.xlogy(shares, shares).sum():.4f}")
start, state = 0, None
for step in range(STEPS):
    model.train()
    if start + LENGTH >= len(train_text):
        start, state = 0, None
    x = train_text[start : start + LENGTH]
    y = train_text[start + 1 : start + LENGTH + 1]
    start += LENGTH
    output, state = model(x, state)
    state = tuple(part.detach() for part in state)
    loss = F.cross_entropy(output.flatten(0, 1), y.flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
