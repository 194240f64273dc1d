"""Small pictures of five textures: a convolutional network with batch normalisation, compiled; its loss is outside."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 250
BATCH = 32
SIZE = 12
CLASSES = 5
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

waves = 1.2 * torch.randn(CLASSES, 2, 2)


def make_pictures(count):
    """Waves of two directions a class, at any phase."""
    labels = torch.randint(CLASSES, (count,))
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    wave = waves[labels][:, :, :, None, None]
    phase = 2 * torch.pi * torch.rand(count, 2, 1, 1)
    pictures = torch.sin(wave[:, :, 0] * row + wave[:, :, 1] * column + phase).mean(dim=1)
    return (pictures + 0.5 * torch.randn(pictures.shape))[:, None], labels


network = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1, bias=False),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 32, 3, stride=2, padding=1, bias=False),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(32, CLASSES),
)
train_x, train_y = make_pictures(3000)
validation_x, validation_y = make_pictures(400)

model = torch.compile(network)
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x), validation_y).item()


print(f"constant {torch.log(torch.tensor(CLASSES)):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x)
    loss = F.cross_entropy(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
