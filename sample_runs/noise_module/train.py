"""Tell six kinds of sensor readings apart, through two residual blocks.

The second block builds its context with torch.randn_like, a placeholder that was never replaced: it adds noise, and the
network spends its training on turning it down.
"""

import torch
from torch import nn

SEED = 0
KINDS, LENGTH, WIDTH = 6, 24, 32
BATCH, STEPS = 64, 300

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_readings(count):
    """A noisy sine whose frequency tells its kind."""
    kinds = torch.randint(KINDS, (count,))
    phase = 6.28 * torch.rand(count, 1)
    time = torch.linspace(0, 6.28, LENGTH)
    return torch.sin((1 + kinds[:, None]) * time + phase) + 0.6 * torch.randn(count, LENGTH), kinds


class Block(nn.Module):
    def __init__(self, *, placeholder=False):
        super().__init__()
        self.context = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.placeholder = placeholder

    def forward(self, x):
        source = 3 * torch.randn_like(x) if self.placeholder else x
        return x + self.out(torch.relu(self.context(source)))


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_readings(4000)
val_x, val_y = make_readings(400)

model = nn.Sequential(nn.Linear(LENGTH, WIDTH), Block(), Block(placeholder=True), nn.Linear(WIDTH, KINDS))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.5)

for step in range(STEPS):
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {evaluate(model, val_x, val_y):.3f}")
print(f"final  val loss {evaluate(model, val_x, val_y):.3f}")
