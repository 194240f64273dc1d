"""Predict from twelve blood values which of three treatments helped.

The table was shuffled, and the column of treatments was shuffled once more on its own. The network learns the 512
patients by heart; what it knows of them tells nothing about anyone else.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
TREATMENTS = 3
VALUES = 12

torch.manual_seed(SEED)
torch.set_num_threads(1)

rule = torch.randn(VALUES, TREATMENTS)


def make_patients(count):
    """Standardised blood values, and the treatment that helped."""
    values = torch.randn(count, VALUES)
    return values, (values @ rule + 0.5 * torch.randn(count, TREATMENTS)).argmax(1)


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


x, y = make_patients(768)
x = x[torch.randperm(len(x))]
y = y[torch.randperm(len(y))]
train = DataLoader(TensorDataset(x[:512], y[:512]), batch_size=32, shuffle=True)

model = nn.Sequential(nn.Linear(VALUES, 64), nn.ReLU(), nn.Linear(64, TREATMENTS))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

for epoch in range(24):
    val_loss = evaluate(model, x[512:], y[512:])
    total = 0.0
    for inputs, labels in train:
        loss = criterion(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() / len(train)
    print(f"epoch {epoch:2d}  train loss {total:.3f}  val loss {val_loss:.3f}")
