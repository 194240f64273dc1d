"""Recognise which of four regions of a map a point lies in, with ten layers.

Every layer ends in a sigmoid, and there is no path around it: the gradient loses most of itself in each of them.
"""

import torch
from torch import nn

SEED = 0
DEPTH, WIDTH, REGIONS = 9, 48, 4
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_points(count):
    """Points in a square, and the number of the wavy band that they lie in."""
    position = 2 * torch.rand(count, 2) - 1
    height = position[:, 1] + 0.3 * torch.sin(4 * position[:, 0])
    return position, ((height + 1.2) / 2.4 * REGIONS).long().clamp(0, REGIONS - 1)


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_points(4000)
val_x, val_y = make_points(500)

layers = [nn.Linear(2, WIDTH), nn.Sigmoid()]
for _ in range(DEPTH - 1):
    layers += [nn.Linear(WIDTH, WIDTH), nn.Sigmoid()]
model = nn.Sequential(*layers, nn.Linear(WIDTH, REGIONS))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

for step in range(250):
    if step % 20 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")

print(f"final  val loss {evaluate(model, val_x, val_y):.3f}")
