"""Find which of six gestures a wristband felt.

The output bias of a detector is often started at -4.6, so that it first says "nothing there". Here the loop that sets
it goes over every layer. Behind a ReLU a bias of -4.6 switches units off before they have seen anything.
"""

import torch
from torch import nn

SEED = 0
GESTURES = 6
SENSORS = 12
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)

centres = 1.5 * torch.randn(GESTURES, SENSORS)


def make_gestures(count):
    """Twelve standardised sensor readings, and the gesture."""
    gesture = torch.randint(GESTURES, (count,))
    return centres[gesture] + torch.randn(count, SENSORS), gesture


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_gestures(2048)
val_x, val_y = make_gestures(512)

model = nn.Sequential(
    nn.Linear(SENSORS, 64),
    nn.ReLU(),
    nn.Linear(64, 64),
    nn.ReLU(),
    nn.Linear(64, 64),
    nn.ReLU(),
    nn.Linear(64, GESTURES),
)
for layer in model:
    if isinstance(layer, nn.Linear):
        nn.init.constant_(layer.bias, -4.6)

criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

for step in range(300):
    if step % 20 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
