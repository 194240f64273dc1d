"""Six coloured textures: a small residual network with batch normalisation, SGD with momentum and a cosine schedule."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 200
BATCH = 32
CLASSES = 6
WIDTH = 8
LEARNING_RATE = 0.05
WEIGHT_DECAY = 5e-4

torch.manual_seed(SEED)
torch.set_num_threads(1)

directions = torch.randn(CLASSES, 2)
colours = torch.randn(CLASSES, 3)


def make_textures(count):
    labels = torch.randint(CLASSES, (count,))
    y, x = torch.meshgrid(torch.linspace(0, 3, 16), torch.linspace(0, 3, 16), indexing="ij")
    wave = directions[labels, 0, None, None] * x + directions[labels, 1, None, None] * y
    wave = torch.sin(2 * wave + 6.28 * torch.rand(count, 1, 1))
    pictures = wave[:, None] * colours[labels][:, :, None, None]
    return pictures + 1.5 * torch.randn(pictures.shape), labels


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x):
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(WIDTH)
        self.blocks = nn.Sequential(
            Block(WIDTH, WIDTH, 1),
            Block(WIDTH, 2 * WIDTH, 2),
            Block(2 * WIDTH, 4 * WIDTH, 2),
        )
        self.head = nn.Linear(4 * WIDTH, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn(self.stem(x)))
        return self.head(self.blocks(x).mean(dim=(2, 3)))


train_x, train_y = make_textures(3000)
validation_x, validation_y = make_textures(300)

model = ResNet()
optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=WEIGHT_DECAY)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)


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
    scheduler.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
