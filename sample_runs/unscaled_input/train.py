"""Grade flats from a table as it was collected: square metres, year of construction, euros, floors.

Nobody has standardised the columns. The price alone is of order 1e5, and the first layer hears hardly anything else.
"""

import torch
from torch import nn

SEED = 0
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_flats(count):
    """[count, 4] columns in their own units, and one of three grades, which depends on all of them."""
    area = 60 + 25 * torch.randn(count)
    year = 1975 + 20 * torch.randn(count)
    floor = torch.randint(0, 8, (count,)).float()
    price = 3000 * area * (1 + 0.2 * torch.randn(count))
    worth = (area - 60) / 25 + (year - 1975) / 20 + (floor - 4) / 2 - (price / area - 3000) / 600
    grade = torch.bucketize(worth + 0.3 * torch.randn(count), torch.tensor([-1.0, 1.0]))
    return torch.stack([area, year, floor, price], dim=1), grade


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_flats(4000)
val_x, val_y = make_flats(1000)

model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

for step in range(400):
    if step % 20 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():10.3f}  val loss {val_loss:10.3f}")
