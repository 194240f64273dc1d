"""Compress the readings of 64 sensors to 4 numbers and back, in half precision without loss scaling.

The readings are in volts, a tenth or less, so their squared errors and the gradients are small, and float16 ends at
6e-8: some elements of the gradient round to zero, and most others keep a few bits only. Nothing scales the loss.
"""

import torch
from torch import nn

SEED = 0
SENSORS, SOURCES = 64, 4
BATCH, STEPS = 256, 250

torch.manual_seed(SEED)
torch.set_num_threads(1)

mixing = torch.randn(SOURCES, SENSORS)


def make_readings(count):
    """Every sensor hears a mixture of a few sources."""
    volts = torch.tanh(torch.randn(count, SOURCES) @ mixing / 2) + 0.05 * torch.randn(count, SENSORS)
    return 0.1 * volts


@torch.no_grad()
def evaluate(model, x):
    model.eval()
    loss = criterion(model(x), x)
    model.train()
    return loss.item()


train_x, val_x = make_readings(4000), make_readings(500)

model = nn.Sequential(
    nn.Linear(SENSORS, 32), nn.ReLU(), nn.Linear(32, SOURCES), nn.Linear(SOURCES, 32), nn.ReLU(), nn.Linear(32, SENSORS)
)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=2.0, momentum=0.9)

for step in range(STEPS):
    x = train_x[torch.randint(len(train_x), (BATCH,))]
    with torch.autocast("cpu", dtype=torch.float16):
        loss = criterion(model(x), x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.5f}  val loss {evaluate(model, val_x):.5f}")
print(f"final  val loss {evaluate(model, val_x):.5f}")
