"""Fit a smooth curve in half precision.

The scaler doubles its scale every eight steps instead of every two thousand. Each time it soon overflows float16, and
the step is skipped.
"""

import torch
from torch import nn

SEED = 0
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_points(count):
    """Positions and the noisy height of a curve there."""
    x = 4 * torch.rand(count, 1) - 2
    return x, torch.sin(2 * x) * torch.exp(-x.square() / 4) + 0.05 * torch.randn(count, 1)


train_x, train_y = make_points(2000)

model = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=8)

for step in range(300):
    batch = torch.randint(len(train_x), (BATCH,))
    with torch.autocast("cpu", dtype=torch.float16):
        prediction = model(train_x[batch])
    loss = criterion(prediction.float(), train_y[batch])
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.4f}  scale {scaler.get_scale():.0f}")
