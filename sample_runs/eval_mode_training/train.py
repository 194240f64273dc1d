"""Recognise five shapes in noisy pictures with a small convolutional network.

After the first validation the model stays in evaluation mode: batch normalisation goes on with the statistics of the
first epoch, and dropout is off for the rest of the run.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
SHAPES = 5
SIZE = 12
EPOCHS = 5

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_pictures(count):
    """Disc, ring, square, cross and bar at a random place, with pixel noise."""
    labels = torch.randint(SHAPES, (count,))
    y, x = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    centre = 4 + 4 * torch.rand(count, 2, 1, 1)
    dx, dy = x - centre[:, 0], y - centre[:, 1]
    far = (dx**2 + dy**2).sqrt()
    inside = (dx.abs() < 3) & (dy.abs() < 3)
    thin_x, thin_y = dx.abs() < 1, dy.abs() < 1
    shapes = torch.stack([far < 3, (far > 2) & (far < 4), inside, inside & (thin_x | thin_y), inside & thin_y], dim=1)
    pictures = shapes[torch.arange(count), labels].float()
    return (pictures + 0.6 * torch.randn(pictures.shape))[:, None], labels


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    return criterion(model(x), y).item()


train_set = TensorDataset(*make_pictures(3840))
val_x, val_y = make_pictures(500)
loader = DataLoader(train_set, batch_size=64, shuffle=True)

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1, bias=False),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1, bias=False),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Flatten(),
    nn.Dropout(0.2),
    nn.Linear(32 * (SIZE // 2) ** 2, SHAPES),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for epoch in range(EPOCHS):
    for x, y in loader:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    val_loss = evaluate(model, val_x, val_y)
    print(f"epoch {epoch}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
