"""Fit a wave of two variables with twenty tanh layers.

The weights are drawn eight times too large. Every layer multiplies the gradient on its way back, until the first layers
hear ten thousand times what the last ones hear.
"""

import torch
from torch import nn

SEED = 0
DEPTH, WIDTH = 20, 48
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_points(count):
    """Points in a square, and the height of a wave there."""
    position = 2 * torch.rand(count, 2) - 1
    height = torch.sin(3 * position[:, 0]) * torch.cos(3 * position[:, 1])
    return position, height[:, None] / 0.5


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_points(4000)
val_x, val_y = make_points(500)

layers = []
for index in range(DEPTH):
    layer = nn.Linear(2 if index == 0 else WIDTH, WIDTH)
    nn.init.normal_(layer.weight, std=8 / layer.in_features**0.5)
    layers += [layer, nn.Tanh()]
model = nn.Sequential(*layers, nn.Linear(WIDTH, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

for step in range(110):
    if step % 20 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")

print(f"final  val loss {evaluate(model, val_x, val_y):.3f}")
