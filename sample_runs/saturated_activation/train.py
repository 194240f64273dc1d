"""Recognise four sleep stages from sixteen features of a night's recording.

The weights are drawn with nn.init.normal_ and its default standard deviation of 1. A sum over 64 inputs is then of
order 8, and tanh of that is 1 or -1 for nearly everything.
"""

import torch
from torch import nn

SEED = 0
STAGES = 4
FEATURES = 16
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)

centres = torch.randn(STAGES, FEATURES)


def make_nights(count):
    """Standardised features of half a minute each, and the sleep stage."""
    stage = torch.randint(STAGES, (count,))
    return 0.5 * centres[stage] + torch.randn(count, FEATURES), stage


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_nights(4000)
val_x, val_y = make_nights(1000)

model = nn.Sequential(
    nn.Linear(FEATURES, 64),
    nn.Tanh(),
    nn.Linear(64, 64),
    nn.Tanh(),
    nn.Linear(64, 64),
    nn.Tanh(),
    nn.Linear(64, STAGES),
)
for layer in model[:-1]:
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight)

criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

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
