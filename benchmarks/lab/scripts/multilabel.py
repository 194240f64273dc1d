"""Twelve tags an example, each present in 5 to 40 of 100: binary cross-entropy over all tags, Adam."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
TAGS = 12
WIDTH = 64
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

weights = torch.randn(20, TAGS) / 2
offsets = torch.linspace(-3.5, -0.5, TAGS)


def make_examples(count):
    x = torch.randn(count, 20)
    scores = 1.5 * (x @ weights) + offsets + 0.5 * x[:, :TAGS] * x[:, 1 : TAGS + 1]
    return x, (scores + 0.5 * torch.randn(count, TAGS) > 0).float()


train_x, train_y = make_examples(10_000)
validation_x, validation_y = make_examples(1000)

model = nn.Sequential(
    nn.Linear(20, WIDTH),
    nn.LayerNorm(WIDTH),
    nn.GELU(),
    nn.Linear(WIDTH, WIDTH),
    nn.GELU(),
    nn.Linear(WIDTH, TAGS),
)
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.binary_cross_entropy_with_logits(model(validation_x), validation_y).item()


shares = train_y.mean(dim=0)
print(f"constant {F.binary_cross_entropy(shares, shares):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x)
    loss = F.binary_cross_entropy_with_logits(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
