"""Pretrain the language model of the LoRA script on an artificial language; writes checkpoints/text.pt."""

import torch
from torch import nn
from torch.nn import functional as F

BATCH = 16
LENGTH = 32
WORDS = 60
LETTERS = 16
WIDTH = 32
HEADS = 4
LAYERS = 3
DROPOUT = 0.0

torch.manual_seed(0)
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


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.projection = nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.expand = nn.Linear(WIDTH, 4 * WIDTH)
        self.contract = nn.Linear(4 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(DROPOUT)

    def attend(self, x):
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.projection(mixed.transpose(1, 2).reshape(batch, length, WIDTH))

    def forward(self, x):
        x = x + self.dropout(self.attend(self.norm1(x)))
        return x + self.dropout(self.contract(F.gelu(self.expand(self.norm2(x)))))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, WIDTH)
        self.position = nn.Embedding(LENGTH, WIDTH)
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, LETTERS)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.position.weight, std=0.02)

    def forward(self, letters):
        x = self.embedding(letters) + self.position.weight[: letters.shape[1]]
        return self.head(self.norm(self.layers(x)))


text = make_text(60_000)
model = Transformer()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(700):
    x, y = make_batch(text, BATCH)
    loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.4f}")
torch.save(model.state_dict(), "checkpoints/text.pt")
