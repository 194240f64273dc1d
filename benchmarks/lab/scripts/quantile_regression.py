"""The 10th, 50th and 90th percentile of a target whose spread varies: pinball loss, Adam."""

import sys

import torch
from torch import nn

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
WIDTH = 32
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

weights = torch.randn(12) / 12**0.5


def make_examples(count):
    x = torch.randn(count, 12)
    signal = x @ weights + 0.5 * x[:, 0] * x[:, 1]
    return x, signal + (0.1 + 0.3 * torch.sigmoid(2 * x[:, 2])) * torch.randn(count)


train_x, train_y = make_examples(8000)
validation_x, validation_y = make_examples(1000)
quantiles = torch.tensor([0.1, 0.5, 0.9])


def pinball(output, y):
    error = y[:, None] - output
    return torch.maximum(quantiles * error, (quantiles - 1) * error).mean()


model = nn.Sequential(
    nn.Linear(12, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, 3),
)
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return pinball(model(validation_x), validation_y).item()


print(f"constant {pinball(train_y.quantile(quantiles).expand(len(train_y), 3), train_y):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x)
    loss = pinball(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
