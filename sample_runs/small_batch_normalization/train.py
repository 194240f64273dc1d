"""Predict the comfort of a room from eight sensors, four rooms at a time.

Batch normalisation has four numbers for each mean and variance: what it computes for one room depends on the other
three.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
SENSORS = 8
EPOCHS = 2

torch.manual_seed(SEED)
torch.set_num_threads(1)

effects = torch.randn(SENSORS)


def make_rooms(count):
    """Standardised sensor values and a comfort that depends on them, with opinions differing."""
    x = torch.randn(count, SENSORS)
    comfort = torch.tanh(x @ effects / SENSORS**0.5) + 0.4 * x[:, 0] * x[:, 1]
    return x, (comfort + 0.2 * torch.randn(count))[:, None]


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


loader = DataLoader(TensorDataset(*make_rooms(800)), batch_size=4, shuffle=True)
val_x, val_y = make_rooms(500)

model = nn.Sequential(
    nn.Linear(SENSORS, 32),
    nn.BatchNorm1d(32),
    nn.ReLU(),
    nn.Linear(32, 32),
    nn.BatchNorm1d(32),
    nn.ReLU(),
    nn.Linear(32, 1),
)
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

for epoch in range(EPOCHS):
    for step, (x, y) in enumerate(loader):
        if step % 40 == 0:
            val_loss = evaluate(model, val_x, val_y)
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
