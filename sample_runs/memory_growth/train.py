"""Fit the flow of a river to the rain of the days before.

The losses are summed up as tensors, and the outputs are kept in a list: every step leaves its graph and its output.
"""

import torch
from torch import nn

SEED = 0
BATCH = 1024
STEPS = 500

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_rivers(count, days=32):
    """Rain of the days before, and the standardised flow."""
    rain = torch.randn(count, days)
    return rain, (rain * torch.linspace(0, 1, days)).sum(1, keepdim=True) / 3.3 + 0.1 * torch.randn(count, 1)


x, y = make_rivers(4000)
model = nn.Sequential(nn.Linear(32, 256), nn.Tanh(), nn.Linear(256, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
total, hidden = 0.0, []

for step in range(STEPS):
    batch = torch.randint(len(x), (BATCH,))
    inside = model[1](model[0](x[batch]))
    loss = criterion(model[2](inside), y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    total = total + loss
    hidden.append(inside)
    if step % 100 == 0:
        print(f"step {step:4d}  mean train loss {total.item() / (step + 1):.3f}")
