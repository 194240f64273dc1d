"""Predict the flow of a river from the rain of ten stations.

One logger wrote millimetres instead of centimetres for a while. Five batches with one input ten times too large throw
the model off; it recovers within some twenty steps.
"""

import torch
from torch import nn

SEED = 0
STATIONS = 10
BATCH = 64
BROKEN = range(200, 205)

torch.manual_seed(SEED)
torch.set_num_threads(1)

shares = torch.rand(STATIONS)


def make_days(count):
    """Standardised rain of each station, and the flow a day later."""
    rain = torch.randn(count, STATIONS)
    flow = torch.tanh(rain @ shares / 2) + 0.3 * rain[:, 0] * rain[:, 1]
    return rain, (flow + 0.1 * torch.randn(count))[:, None]


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_days(4000)
val_x, val_y = make_days(500)

model = nn.Sequential(nn.Linear(STATIONS, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for step in range(400):
    if step % 20 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    x = train_x[batch].clone()
    if step in BROKEN:
        x[:, 3] *= 10
    loss = criterion(model(x), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")

print(f"final  val loss {evaluate(model, val_x, val_y):.3f}")
