"""Find the one machine in thirty that is about to fail.

The signs are faint, and 97 % of the machines are sound. The model learns how rare failures are and little else; its
accuracy is 97 %.
"""

import torch
from torch import nn

SEED = 3
READINGS = 12
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_machines(count):
    """Standardised readings, of which three are slightly raised before a failure, and whether it fails."""
    fails = (torch.rand(count) < 0.03).long()
    readings = torch.randn(count, READINGS)
    readings[:, :3] += 0.3 * fails[:, None]
    return readings, fails


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_machines(8000)
val_x, val_y = make_machines(2000)

model = nn.Sequential(nn.Linear(READINGS, 16), nn.ReLU(), nn.Linear(16, 2))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for step in range(400):
    if step % 20 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
