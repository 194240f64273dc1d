"""Fit the height of a landscape to a few hundred measured points.

The training loop never zeroes the gradients: every step moves along the sum of all gradients since the start, and the
loss swings instead of falling.
"""

import torch
from torch import nn

SEED = 0
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_points(count):
    """Positions in a square, and the standardised height of a hilly landscape there, with measurement noise."""
    position = 2 * torch.rand(count, 2) - 1
    x, y = position[:, 0], position[:, 1]
    height = torch.sin(3 * x) * torch.cos(2 * y) + 0.6 * torch.exp(-4 * ((x - 0.4) ** 2 + (y + 0.3) ** 2))
    return position, ((height - 0.1) / 0.6 + 0.1 * torch.randn(count))[:, None]


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_points(3000)
val_x, val_y = make_points(500)

model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

for step in range(400):
    if step % 20 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")

print(f"final  val loss {evaluate(model, val_x, val_y):.3f}")
