"""Calls an hour: Poisson regression with a small network that predicts the logarithm of the rate, Adam."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
WIDTH = 32
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

weights = torch.randn(12) / 12**0.5


def make_examples(count):
    x = torch.randn(count, 12)
    signal = x @ weights + 0.5 * x[:, 0] * x[:, 1]
    return x, torch.poisson(torch.exp(1 + signal.clamp(max=2)))


train_x, train_y = make_examples(8000)
validation_x, validation_y = make_examples(1000)

model = nn.Sequential(
    nn.Linear(12, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, 1),
)
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.poisson_nll_loss(model(validation_x).squeeze(1), validation_y).item()


rate = train_y.mean()
print(f"constant {rate - rate * rate.log():.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x).squeeze(1)
    loss = F.poisson_nll_loss(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
