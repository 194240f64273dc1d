"""A character model of generated place names: embedding, GRU, linear; sampled in the end."""

import argparse
import random

import torch
import torch.nn as nn

ONSETS = ["k", "l", "m", "n", "p", "r", "s", "t", "v", "br", "st", "tr"]
VOWELS = ["a", "e", "i", "o", "u", "ai", "oo"]
ENDS = ["ville", "ton", "burg", "ham", "dale", "ford"]


def make_text(count, rng):
    words = []
    for _ in range(count):
        body = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 3)))
        words.append(body + rng.choice(ENDS))
    return "\n".join(words)


class CharModel(nn.Module):
    def __init__(self, vocab, hidden=96):
        super().__init__()
        self.embedding = nn.Embedding(vocab, 32)
        self.gru = nn.GRU(32, hidden, batch_first=True)
        self.decoder = nn.Linear(hidden, vocab)

    def forward(self, x, h=None):
        out, h = self.gru(self.embedding(x), h)
        return self.decoder(out), h


def get_batch(data, batch_size, length):
    starts = torch.randint(0, len(data) - length - 1, (batch_size,))
    inputs = torch.stack([data[s : s + length] for s in starts])
    targets = torch.stack([data[s + 1 : s + 1 + length] for s in starts])
    return inputs, targets


def next_char_accuracy(model, data):
    model.eval()
    with torch.no_grad():
        logits, _ = model(data[None, :-1])
    model.train()
    return (logits[0].argmax(-1) == data[1:]).float().mean().item()


def sample(model, chars, length=60):
    x, h, out = torch.tensor([[chars.index("\n")]]), None, ""
    with torch.no_grad():
        for _ in range(length):
            logits, h = model(x, h)
            x = torch.multinomial(logits[0, -1].softmax(0), 1)[None]
            out += chars[x.item()]
    return out


parser = argparse.ArgumentParser()
parser.add_argument("seed", type=int, nargs="?", default=0)
parser.add_argument("--iterations", type=int, default=500)
opt = parser.parse_args()
torch.manual_seed(opt.seed)
torch.set_num_threads(1)
text = make_text(3000, random.Random(opt.seed))
chars = sorted(set(text))
data = torch.tensor([chars.index(c) for c in text])
split = int(0.9 * len(data))
train_data, val_data = data[:split], data[split:][:2000]
model = CharModel(len(chars))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
criterion = nn.CrossEntropyLoss()
for i in range(opt.iterations):
    x, y = get_batch(train_data, 32, 40)
    logits, _ = model(x)
    loss = criterion(logits.view(-1, len(chars)), y.reshape(-1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if (i + 1) % 100 == 0:
        print(i + 1, round(loss.item(), 3), repr(sample(model, chars, 30)))
print(f"result {next_char_accuracy(model, val_data):.3f}")
