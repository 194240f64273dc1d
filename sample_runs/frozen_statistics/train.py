"""Find the larger of two blobs in a small picture.

The network was ported from Keras together with its `momentum`, which is the weight of the old statistics there and of
the new batch here. Written as 1 - 0.999, it leaves the running statistics near 0 and 1, where they began.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
SIDE, EPOCHS = 12, 5
MOMENTUM = 0.001

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_pictures(count):
    """A blob in each half; the label says whether the one on the right is the larger. Grey values from 0 to 255."""
    sizes = 1 + 2 * torch.rand(count, 2)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    picture = torch.zeros(count, SIDE, SIDE)
    for half in range(2):
        centre = torch.stack([3 + 6 * torch.rand(count), 3 + 6 * half + torch.rand(count) - 0.5], dim=1)
        far = (rows - centre[:, 0, None, None]) ** 2 + (columns - centre[:, 1, None, None]) ** 2
        picture += torch.exp(-far / (2 * sizes[:, half, None, None] ** 2))
    noisy = 90 + 60 * picture + 10 * torch.randn(count, SIDE, SIDE)
    return noisy[:, None] / 255, (sizes[:, 1] > sizes[:, 0]).long()


def block(inputs, outputs):
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, momentum=MOMENTUM), nn.ReLU())


train_loader = DataLoader(TensorDataset(*make_pictures(1600)), batch_size=40, shuffle=True)
val_loader = DataLoader(TensorDataset(*make_pictures(400)), batch_size=100)
model = nn.Sequential(block(1, 8), nn.MaxPool2d(2), block(8, 16), nn.Flatten(), nn.Linear(16 * SIDE * SIDE // 4, 2))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

for epoch in range(EPOCHS):
    model.train()
    for x, y in train_loader:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        val_loss = sum(criterion(model(x), y).item() for x, y in val_loader) / len(val_loader)
    print(f"epoch {epoch}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
