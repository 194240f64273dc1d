"""Fraud in 4 of 100 transactions: binary cross-entropy that counts the rare class ten times, AdamW."""

import sys

import torch
from torch import nn

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 128
SHARE = 0.04
POSITIVE_WEIGHT = 10.0
WIDTH = 32
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

shift = 0.7 * torch.randn(16)


def make_transactions(count):
    y = (torch.rand(count) < SHARE).float()
    x = torch.randn(count, 16) + y[:, None] * shift
    return x, y


train_x, train_y = make_transactions(20_000)
validation_x, validation_y = make_transactions(4000)

model = nn.Sequential(
    nn.Linear(16, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, 1),
)
criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(POSITIVE_WEIGHT))
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return criterion(model(validation_x).squeeze(1), validation_y).item()


odds = POSITIVE_WEIGHT * train_y.mean() / (1 - train_y.mean())
print(f"constant {criterion(odds.log().expand(len(train_y)), train_y):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x).squeeze(1)
    loss = criterion(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
