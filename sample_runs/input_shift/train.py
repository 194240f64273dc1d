"""Tell three kinds of cloud from small pictures.

The training pictures are standardised by their own mean and standard deviation. The validation pictures go through an
older transform, which only brings them to the range from 0 to 1.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
KINDS, SIDE = 3, 12

torch.manual_seed(SEED)
torch.set_num_threads(1)

typical = torch.randn(KINDS, 1, SIDE, SIDE)


def make_pictures(count):
    """Pictures with values from 0 to 255, and their kinds."""
    kinds = torch.randint(0, KINDS, (count,))
    pictures = 120 + 20 * (typical[kinds] + 2 * torch.randn(count, 1, SIDE, SIDE))
    return pictures.clamp(0, 255), kinds


pictures, kinds = make_pictures(1600)
mean, std = pictures.mean(), pictures.std()
train_loader = DataLoader(TensorDataset((pictures - mean) / std, kinds), batch_size=32, shuffle=True)
pictures, kinds = make_pictures(400)
val_loader = DataLoader(TensorDataset(pictures / 255, kinds), batch_size=100)

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 36, KINDS)
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for epoch in range(6):
    for x, y in train_loader:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        val_loss = sum(criterion(model(x), y).item() for x, y in val_loader) / len(val_loader)
    print(f"epoch {epoch}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
