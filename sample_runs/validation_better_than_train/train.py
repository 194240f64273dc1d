"""Recognise five dialects from word frequencies.

The validation set was filtered to the clear recordings, the training set was not: the validation loss lies far below
the training loss, and says nothing about the recordings that the model will meet.
"""

import torch
from torch import nn

SEED = 0
DIALECTS, WORDS = 5, 20
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)

usual = torch.randn(DIALECTS, WORDS)


def make_recordings(count, noise):
    """Standardised word frequencies around those of the dialect; `noise` blurs them."""
    labels = torch.randint(DIALECTS, (count,))
    return usual[labels] + noise * torch.randn(count, WORDS), labels


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_recordings(6000, noise=3.0)
val_x, val_y = make_recordings(500, noise=1.5)

model = nn.Sequential(nn.Linear(WORDS, 48), nn.ReLU(), nn.Linear(48, DIALECTS))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

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
