"""A curve through noisy points: a network of bare tensors, updated by hand as in a course, without an optimizer."""

import sys

import torch
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 500
BATCH = 64
WIDTH = 48
LEARNING_RATE = 0.05

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_points(count):
    x = 2 * torch.rand(count, 4) - 1
    y = torch.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] - x[:, 3] ** 2
    return x, (y + 0.3) / 0.9 + 0.1 * torch.randn(count)


def layer(inputs, outputs):
    weight = torch.randn(inputs, outputs) * (2 / inputs) ** 0.5
    return [weight.requires_grad_(), torch.zeros(outputs, requires_grad=True)]


train_x, train_y = make_points(4000)
validation_x, validation_y = make_points(1000)

parameters = [*layer(4, WIDTH), *layer(WIDTH, WIDTH), *layer(WIDTH, 1)]


def model(x):
    w1, b1, w2, b2, w3, b3 = parameters
    return (torch.relu(torch.relu(x @ w1 + b1) @ w2 + b2) @ w3 + b3).squeeze(1)


@torch.no_grad()
def evaluate():
    return F.mse_loss(model(validation_x), validation_y).item()


print(f"constant {train_y.var():.4f}")
for step in range(STEPS):
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x)
    loss = F.mse_loss(output, y)
    loss.backward()
    with torch.no_grad():
        for parameter in parameters:
            parameter -= LEARNING_RATE * parameter.grad
            parameter.grad.zero_()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
