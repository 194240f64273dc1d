"""Predict the yield of a plot from soil and weather measurements.

The warmup was given the length of the whole run, so that the learning rate grows all the time. Once it is too large for
the sharpest direction the loss swings, and each swing is wider.
"""

import torch
from torch import nn

SEED = 0
MEASUREMENTS = 12
BATCH, STEPS = 256, 400

torch.manual_seed(SEED)
torch.set_num_threads(1)

direction = torch.randn(MEASUREMENTS, 2)


def make_plots(count):
    x = torch.randn(count, MEASUREMENTS)
    signal = torch.tanh(x @ direction / MEASUREMENTS**0.5)
    return x, signal.prod(dim=1, keepdim=True) + signal[:, :1] + 0.1 * torch.randn(count, 1)


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_plots(2000)
val_x, val_y = make_plots(500)

model = nn.Sequential(nn.Linear(MEASUREMENTS, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.7)
warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=STEPS)

for step in range(STEPS):
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    warmup.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {evaluate(model, val_x, val_y):.3f}")
print(f"final  val loss {evaluate(model, val_x, val_y):.3f}")
