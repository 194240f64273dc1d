"""Letters of nested brackets and words, by two processes: a transformer, two micro-batches a step, AdamW, clipping."""

import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

SEED = int(sys.argv[1])
RANKS = 2
STEPS = 160
MICRO_STEPS = 2
BATCH = 8  # of each rank and micro-batch
LENGTH = 32
WORDS = 20
LETTERS = 20
WIDTH = 32
HEADS = 4
LAYERS = 2
WARMUP = 20
LEARNING_RATE = 4e-3
MAX_NORM = 1.0

ALPHABET = " ()[]abcdefghijklmno"


def make_text(length):
    """Words of a random vocabulary; brackets of two kinds open, and close in the right order."""
    words = ["".join(ALPHABET[5 + i] for i in torch.randint(15, (int(n),))) for n in torch.randint(2, 6, (WORDS,))]
    open_brackets, text = [], []
    while len(text) < length:
        chance = float(torch.rand(()))
        if chance < 0.2 and len(open_brackets) < 4:
            open_brackets.append(int(torch.randint(2, ())))
            text.append("(["[open_brackets[-1]])
        elif chance < 0.4 and open_brackets:
            text.append(")]"[open_brackets.pop()])
        else:
            text.extend(words[int(torch.randint(WORDS, ()))] + " ")
    return torch.tensor([ALPHABET.index(letter) for letter in text[:length]])


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

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.projection(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.contract(F.gelu(self.expand(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, WIDTH)
        self.position = nn.Embedding(LENGTH, WIDTH)
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, LETTERS)

    def forward(self, letters):
        x = self.embedding(letters) + self.position.weight[: letters.shape[1]]
        return self.head(self.norm(self.layers(x)))


def train(rank, meeting):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=RANKS)
    torch.manual_seed(SEED)
    text = make_text(30_000)
    train_text, validation_text = text[:27_000], text[27_000:]
    validation_x, validation_y = make_batch(validation_text, 24)
    model = DistributedDataParallel(Transformer())
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP))
    torch.manual_seed(RANKS * SEED + rank)  # each rank draws its own windows

    @torch.no_grad()
    def evaluate():
        model.eval()
        return F.cross_entropy(model.module(validation_x).flatten(0, 1), validation_y.flatten()).item()

    if rank == 0:
        shares = torch.bincount(train_text, minlength=LETTERS) / len(train_text)
        print(f"constant {-torch.special.xlogy(shares, shares).sum():.4f}")
    for step in range(STEPS):
        model.train()
        optimizer.zero_grad()
        for micro_step in range(MICRO_STEPS):
            x, y = make_batch(train_text, BATCH)
            # Gradients are averaged over the ranks in the last micro-batch of a step only.
            model.require_backward_grad_sync = micro_step == MICRO_STEPS - 1
            output = model(x)
            loss = F.cross_entropy(output.flatten(0, 1), y.flatten())
            (loss / MICRO_STEPS).backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        scheduler.step()
        if step % 20 == 0 and rank == 0:
            print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
    if rank == 0:
        print(f"final validation {evaluate():.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(train, (f"{folder}/meeting",), nprocs=RANKS)
