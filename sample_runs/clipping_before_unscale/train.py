"""Fit the yield of a field to its soil, with a GradScaler.

Gradients are clipped before scaler.unscale_: they are clipped to a norm of 1 while they are 65,536 times too large.
"""

import torch
from torch import nn

SEED = 0
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_fields(count):
    """Six properties of the soil, and the standardised yield."""
    soil = torch.randn(count, 6)
    return soil, (torch.tanh(soil[:, :1]) + 0.5 * soil[:, 1:2] * soil[:, 2:3] + 0.1 * torch.randn(count, 1)) / 0.9


x, y = make_fields(2000)
model = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scaler = torch.amp.GradScaler("cpu")

for step in range(300):
    batch = torch.randint(len(x), (BATCH,))
    loss = criterion(model(x[batch]), y[batch])
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}")
