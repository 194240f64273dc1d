"""Forecast a noisy daily cycle with an LSTM.

The gradient norm is clipped at 0.003, a hundredth of what it is. Under SGD every step then has the same small length,
and training is slow throughout.
"""

import torch
from torch import nn

SEED = 0
LENGTH = 24
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_series(count):
    """Windows of a series with a daily and a weekly cycle, and the value that follows."""
    start = 200 * torch.rand(count, 1)
    hours = start + torch.arange(LENGTH + 1)
    level = torch.randn(count, 1)
    series = torch.sin(2 * torch.pi * hours / 24) + 0.5 * torch.sin(2 * torch.pi * hours / 84) + 0.3 * level
    series = series + 0.15 * torch.randn(series.shape)
    return series[:, :-1, None], series[:, -1:]


class Forecaster(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.lstm = nn.LSTM(1, width, batch_first=True)
        self.output = nn.Linear(width, 1)

    def forward(self, x):
        states, _ = self.lstm(x)
        return self.output(states[:, -1])


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_series(3000)
val_x, val_y = make_series(500)

model = Forecaster()
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

for step in range(400):
    if step % 20 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.003)
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")

print(f"final  val loss {evaluate(model, val_x, val_y):.3f}")
