"""Friedman's function of ten standardised features: a multilayer perceptron under AdamW, mean squared error."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
WIDTH = 64
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_examples(count):
    u = torch.rand(count, 10)
    y = 10 * torch.sin(torch.pi * u[:, 0] * u[:, 1]) + 20 * (u[:, 2] - 0.5) ** 2 + 10 * u[:, 3] + 5 * u[:, 4]
    return (u - 0.5) * 12**0.5, y + torch.randn(count)


train_x, train_y = make_examples(5000)
validation_x, validation_y = make_examples(1000)
mean, std = train_y.mean(), train_y.std()
train_y, validation_y = (train_y - mean) / std, (validation_y - mean) / std

model = nn.Sequential(
    nn.Linear(10, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, 1),
)
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.mse_loss(model(validation_x).squeeze(1), validation_y).item()


print(f"constant {train_y.var():.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x).squeeze(1)
    loss = F.mse_loss(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
