"""The next letter by a small transformer that gives its loss itself, compiled with torch.compile; warmup and cosine."""

import math
import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 300
BATCH = 16
LENGTH = 24
LETTERS = 24
WIDTH = 48
WARMUP = 30
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

near, far = torch.distributions.Dirichlet(torch.full((LETTERS,), 0.4)).sample((2, LETTERS))


def make_text(rows, length):
    """Each letter depends on the last one and on that three places back."""
    text = torch.randint(LETTERS, (rows, 3))
    for _ in range(length - 3):
        text = torch.cat([text, torch.multinomial(near[text[:, -1]] * far[text[:, -3]] + 1e-5, 1)], dim=1)
    return text


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.project = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):
        batch, length, _ = x.shape
        parts = self.project(self.norm1(x)).view(batch, length, 3, 4, WIDTH // 4).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.letters, self.places = nn.Embedding(LETTERS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, LETTERS, bias=False)
        for table in (self.letters, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, x, y):
        x = self.letters(x) + self.places(torch.arange(LENGTH))
        output = self.head(self.norm(self.blocks(x)))
        return output, F.cross_entropy(output.flatten(0, 1), y.flatten())


train_text, validation_text = make_text(400, 200), make_text(64, LENGTH + 1)

network = Transformer()
model = torch.compile(network, backend="aot_eager")
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95))


def rate(step):
    return min((step + 1) / WARMUP, 0.55 + 0.45 * math.cos(math.pi * step / STEPS))


scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


@torch.no_grad()
def evaluate():
    model.eval()
    return model(validation_text[:, :-1], validation_text[:, 1:])[1].item()


print(f"constant {math.log(LETTERS):.4f}")
for step in range(STEPS):
    model.train()
    rows, start = torch.randint(len(train_text), (BATCH,)), torch.randint(200 - LENGTH, (BATCH, 1))
    text = train_text[rows[:, None], start + torch.arange(LENGTH + 1)]
    x, y = text[:, :-1], text[:, 1:]
    output, loss = model(x, y)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
