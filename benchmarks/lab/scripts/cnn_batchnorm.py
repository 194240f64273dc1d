"""Five shapes in noisy pictures: a convolutional network with batch normalisation, a DataLoader, AdamW."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

SEED = int(sys.argv[1])
EPOCHS = 3
BATCH = 32
SHAPES = 5
SIZE = 12
NOISE = 0.7
LEARNING_RATE = 1e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_pictures(count):
    labels = torch.randint(SHAPES, (count,))
    y, x = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    centre = 3 + 5 * torch.rand(count, 2, 1, 1)
    dx, dy = (x - centre[:, 0]).abs(), (y - centre[:, 1]).abs()
    far = (dx**2 + dy**2).sqrt()
    square = (dx < 3) & (dy < 3)
    shapes = [far < 3, (far > 2) & (far < 3.6), square, square & ((dx < 1) | (dy < 1)), square & (dy < 1)]
    pictures = torch.stack(shapes, dim=1)[torch.arange(count), labels].float()
    return (pictures + NOISE * torch.randn(pictures.shape))[:, None], labels


train_set = TensorDataset(*make_pictures(4000))
validation_x, validation_y = make_pictures(400)
loader = DataLoader(train_set, batch_size=BATCH, shuffle=True)

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1, bias=False),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1, bias=False),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(32, 32, 3, padding=1, bias=False),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(32 * (SIZE // 4) ** 2, SHAPES),
)
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x), validation_y).item()


print(f"constant {torch.log(torch.tensor(SHAPES)):.4f}")
step = 0
for _ in range(EPOCHS):
    for x, y in loader:
        model.train()
        output = model(x)
        loss = F.cross_entropy(output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
        step += 1
print(f"final validation {evaluate():.4f}")
