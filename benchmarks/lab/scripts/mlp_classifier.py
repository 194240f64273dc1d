"""Ten classes, given by a random teacher network with label noise: a multilayer perceptron under Adam."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
WIDTH = 64
CLASSES = 10
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

centres = 1.2 * torch.randn(CLASSES, 3, 20)


def make_examples(count):
    y = torch.randint(CLASSES, (count,))
    x = centres[y, torch.randint(3, (count,))] + torch.randn(count, 20)
    return x, y


train_x, train_y = make_examples(6000)
validation_x, validation_y = make_examples(1000)

model = nn.Sequential(
    nn.Linear(20, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, WIDTH),
    nn.ReLU(),
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
