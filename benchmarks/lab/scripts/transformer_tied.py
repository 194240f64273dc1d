"""Characters of an artificial language: a pre-norm transformer whose head is its embedding, as in GPT-2."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 300
BATCH = 16
LENGTH = 32
WORDS = 60
LETTERS = 16
WIDTH = 32
HEADS = 4
LAYERS = 3
DROPOUT = 0.0
WARMUP = 20
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
        self.head = nn.Linear(WIDTH, LETTERS, bias=False)
        self.head.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.position.weight, std=0.02)
        for layer in self.layers:
            for module in (layer.qkv, layer.projection, layer.expand, layer.contract):
                nn.init.normal_(module.weight, std=0.08)
                nn.init.zeros_(module.bias)

    def forward(self, letters):
        x = self.embedding(letters) + self.position.weight[: letters.shape[1]]
        return self.head(self.norm(self.layers(x)))


text = make_text(30_000)
train_text, validation_text = text[:27_000], text[27_000:]
validation_x, validation_y = make_batch(validation_text, 24)

model = Transformer()
decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95))
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP))


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
