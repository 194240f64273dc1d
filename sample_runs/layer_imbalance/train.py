"""Fit a residual network to a spiral of four arms.

One block is wrong: it keeps a residual scale of 1e-3 that was meant for a much deeper network. Its gradients and
so its updates are a thousand times smaller than those of its neighbours; SGD does not make up for that, and the
block stays as it was initialised.
"""

import torch
from torch import nn

SEED = 0
ARMS = 4
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_spiral(count):
    """Points on four noisy spiral arms, described by six smooth features of their position."""
    labels = torch.randint(ARMS, (count,))
    radius = 0.1 + 0.9 * torch.rand(count)
    angle = 2 * torch.pi * (labels / ARMS + 0.75 * radius) + 0.35 * torch.randn(count)
    x, y = radius * angle.cos(), radius * angle.sin()
    features = torch.stack([x, y, x * y, x**2 - y**2, torch.sin(3 * x), torch.sin(3 * y)], dim=1)
    return (features - features.mean(0)) / features.std(0), labels


class Block(nn.Module):
    def __init__(self, width, scale):
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)
        self.scale = scale

    def forward(self, x):
        return x + self.scale * self.fc2(torch.relu(self.fc1(x)))


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_spiral(4000)
val_x, val_y = make_spiral(500)

width = 64
model = nn.Sequential(
    nn.Linear(6, width),
    Block(width, scale=1.0),
    Block(width, scale=1e-3),
    Block(width, scale=1.0),
    nn.Linear(width, ARMS),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

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

print(f"final  val loss {evaluate(model, val_x, val_y):.3f}")
