"""Six classes: three sigmoid layers with an initialisation of gain 4, which keeps their signal alive, Adam."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
CLASSES = 6
WIDTH = 48
LAYERS = 3
GAIN = 4.0
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

centres = 1.2 * torch.randn(CLASSES, 3, 20)


def make_examples(count):
    y = torch.randint(CLASSES, (count,))
    x = centres[y, torch.randint(3, (count,))] + torch.randn(count, 20)
    return x, y


train_x, train_y = make_examples(6000)
validation_x, validation_y = make_examples(1000)


layers = []
for depth in range(LAYERS):
    linear = nn.Linear(WIDTH if depth else 20, WIDTH)
    nn.init.xavier_normal_(linear.weight, gain=GAIN if depth else 1.0)
    nn.init.zeros_(linear.bias)
    layers += [linear, nn.Sigmoid()]
model = nn.Sequential(
    *layers,
    nn.Linear(WIDTH, CLASSES),
)
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x), validation_y).item()


print(f"constant {torch.log(torch.tensor(CLASSES)):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x)
    loss = F.cross_entropy(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
