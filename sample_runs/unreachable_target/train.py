"""Predict how many minutes a bus is late, with the last layers of a classifier.

The model ends in a sigmoid, which stays below 1, and the delays are some ten minutes: the loss cannot come near the
variance of the delays, and the sigmoid is pressed against 1 until it no longer has a gradient.
"""

import torch
from torch import nn

SEED = 0
FEATURES = 12
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)

influence = torch.randn(FEATURES)


def make_trips(count):
    """Standardised weather, hour and load of a trip, and its delay in minutes."""
    trip = torch.randn(count, FEATURES)
    delay = 10 + (trip @ influence + torch.randn(count)) * 4 / FEATURES**0.5
    return trip, delay[:, None]


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_trips(2000)
val_x, val_y = make_trips(500)

model = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid())
criterion = nn.MSELoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for epoch in range(10):
    for batch in torch.randperm(len(train_x)).split(BATCH):
        loss = criterion(model(train_x[batch]), train_y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    val_loss = evaluate(model, val_x, val_y)
    print(f"epoch {epoch}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
