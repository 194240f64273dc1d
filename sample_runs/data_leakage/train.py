"""Predict whether a patient comes back to the ward, from twelve measurements.

Few come back, so their rows were copied until both kinds were equally many. The table was split after that: most of the
returning patients of the validation set are in the training set, too.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

SEED = 0
MEASUREMENTS = 12

torch.manual_seed(SEED)
torch.set_num_threads(1)

weights = torch.randn(MEASUREMENTS)
patients = torch.randn(1200, MEASUREMENTS)
returns = ((patients @ weights + 3 * torch.randn(1200)) > 4).float()
rare = returns.nonzero().flatten()
rows = torch.cat([torch.arange(1200), rare[torch.randint(0, len(rare), (1200 - 2 * len(rare),))]])
table = TensorDataset(patients[rows], returns[rows])

train_data, val_data = random_split(table, [0.8, 0.2])
train_loader = DataLoader(train_data, batch_size=40, shuffle=True)
val_loader = DataLoader(val_data, batch_size=100)

model = nn.Sequential(nn.Linear(MEASUREMENTS, 64), nn.ReLU(), nn.Linear(64, 1), nn.Flatten(0))
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for epoch in range(8):
    for x, y in train_loader:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        val_loss = sum(criterion(model(x), y).item() for x, y in val_loader) / len(val_loader)
    print(f"epoch {epoch}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
