"""Low-rank adapters on a frozen, checkpointed Transformer: pretrain on one rule, adapt to another one."""

import argparse

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

VOCAB, LENGTH = 16, 12


class LoRALinear(nn.Module):
    def __init__(self, base, rank=8, alpha=16):
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / rank)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.down.t() @ self.up.t())


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.out(nn.functional.scaled_dot_product_attention(q, k, v))
        return x + self.down(torch.nn.functional.gelu(self.up(self.norm2(x))))


class Encoder(nn.Module):
    def __init__(self, width=48, layers=2):
        super().__init__()
        self.embed, self.position = nn.Embedding(VOCAB, width), nn.Parameter(0.1 * torch.randn(LENGTH, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.head = nn.Linear(width, VOCAB)
        self.gradient_checkpointing = False

    def forward(self, ids):
        x = self.embed(ids) + self.position
        for block in self.blocks:
            if not (self.gradient_checkpointing and self.training):
                x = block(x)
                continue
            x = checkpoint(block, x, use_reentrant=False)
        return self.head(x)


def batch(task, size=64):
    ids = torch.randint(0, VOCAB, (size, LENGTH))
    if task == "next":
        return ids, (ids + ids.roll(-1, 1)) % VOCAB
    return ids, (ids + ids.roll(-2, 1)) % VOCAB


def train(model, optimizer, task, steps):
    model.train()
    for step in range(steps):
        ids, labels = batch(task)
        loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 200 == 0:
            print(f"{task} {step + 1}: {loss.item():.3f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = Encoder()
    train(model, torch.optim.AdamW(model.parameters(), lr=3e-3), "next", 400)

    model.requires_grad_(False)
    for block in model.blocks:
        for name in ("qkv", "out", "up", "down"):
            setattr(block, name, LoRALinear(getattr(block, name)))
    model.head.requires_grad_(True)
    model.gradient_checkpointing = True
    trainable = [p for p in model.parameters() if p.requires_grad]
    print(f"trainable: {sum(p.numel() for p in trainable)}")
    train(model, torch.optim.AdamW(trainable, lr=4e-3), "after next", 500)
    model.eval()
    with torch.no_grad():
        ids, labels = batch("after next", 512)
        print(f"result {(model(ids).argmax(-1) == labels).float().mean().item():.3f}")


if __name__ == "__main__":
    main()
