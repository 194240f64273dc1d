"""A target with rare gross errors: Huber loss, SGD with Nesterov momentum, norm clipping."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
WIDTH = 32
DELTA = 1.0
LEARNING_RATE = 0.03
MAX_NORM = 5.0

torch.manual_seed(SEED)
torch.set_num_threads(1)

weights = torch.randn(12) / 12**0.5


def make_examples(count):
    x = torch.randn(count, 12)
    signal = x @ weights + 0.5 * x[:, 0] * x[:, 1]
    return x, signal + 0.1 * torch.randn(count) + 5 * torch.randn(count) * (torch.rand(count) < 0.03)


train_x, train_y = make_examples(8000)
validation_x, validation_y = make_examples(1000)

model = nn.Sequential(
    nn.Linear(12, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, 1),
)
optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.huber_loss(model(validation_x).squeeze(1), validation_y, delta=DELTA).item()


print(f"constant {F.huber_loss(train_y.median().expand(len(train_y)), train_y, delta=DELTA):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x).squeeze(1)
    loss = F.huber_loss(output, y, delta=DELTA)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
