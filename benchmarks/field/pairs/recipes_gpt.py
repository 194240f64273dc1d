"""A small language model with tied embeddings learns to write lists whose items come back in order."""

import argparse

import torch
from torch import nn
from torch.nn import functional as F

WORDS, LENGTH = 40, 32


def recipes(count, following, generator):
    """Words that follow each other by a table, and every fourth word repeats the one four before."""
    words = torch.randint(0, WORDS, (count, 4), generator=generator)
    words = [words[:, index] for index in range(4)]
    for place in range(4, LENGTH + 1):
        choice = torch.randint(0, 3, (count,), generator=generator)
        words.append(words[place - 4] if place % 4 == 0 else following[words[-1], choice])
    return torch.stack(words, 1)


class Block(nn.Module):
    def __init__(self, width, heads=4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, width=64, depth=3, initializer_range=0.02):
        super().__init__()
        self.initializer_range = initializer_range
        self.word, self.place = nn.Embedding(WORDS, width), nn.Embedding(LENGTH, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.apply(self.initialise)

    def initialise(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.initializer_range)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, words):
        x = self.word(words) + self.place(torch.arange(words.size(1)))
        return self.norm(self.blocks(x)) @ self.word.weight.T


def loss_of(model, words):
    return F.cross_entropy(model(words[:, :-1]).flatten(0, 1), words[:, 1:].flatten())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--steps", type=int, default=350)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    g = torch.Generator().manual_seed(args.seed)
    following = torch.randint(0, WORDS, (WORDS, 3), generator=g)
    held = recipes(100, following, g)
    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    for step in range(args.steps):
        loss = loss_of(model, recipes(32, following, g))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49:
            with torch.no_grad():
                validation = loss_of(model, held).item()
            print(f"step {step} loss {loss.item():.3f} validation {validation:.3f}")
    print(f"result {validation:.4f}")


if __name__ == "__main__":
    main()
