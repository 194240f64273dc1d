"""Tell ten kinds of beads apart by their colour and shape.

The model ends with a softmax, as the textbook draws it, and nn.CrossEntropyLoss applies another one. The loss cannot
fall below 1.46, however sure the model is.
"""

import torch
from torch import nn

SEED = 0
KINDS = 10
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)

centres = torch.randn(KINDS, 8)


def make_beads(count):
    """Eight standardised measurements of each bead, and its kind."""
    kind = torch.randint(KINDS, (count,))
    return centres[kind] + 0.4 * torch.randn(count, 8), kind


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_beads(4000)
val_x, val_y = make_beads(1000)

model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, KINDS), nn.Softmax(dim=1))
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
