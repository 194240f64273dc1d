"""Recognise seven gestures from a short track of positions.

The schedule divides the learning rate by ten every 30 epochs, and is stepped once a batch. After 60 steps the rate is a
hundredth of what it was, and the loss stands still for the rest of the run.
"""

import torch
from torch import nn

SEED = 0
GESTURES, LENGTH = 7, 16
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)

paths = torch.randn(GESTURES, 2, LENGTH).cumsum(dim=2) / 4


def make_tracks(count):
    """The path of the gesture, scaled, shifted and with jitter."""
    labels = torch.randint(GESTURES, (count,))
    tracks = paths[labels] * (0.6 + 0.8 * torch.rand(count, 1, 1)) + 0.5 * torch.randn(count, 2, 1)
    return (tracks + 0.3 * torch.randn(count, 2, LENGTH)).flatten(1), labels


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_tracks(4000)
val_x, val_y = make_tracks(500)

model = nn.Sequential(nn.Linear(2 * LENGTH, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, GESTURES))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.1)

for step in range(300):
    if step % 20 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")

print(f"final  val loss {evaluate(model, val_x, val_y):.3f}")
