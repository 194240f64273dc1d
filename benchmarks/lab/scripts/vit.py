"""Five shapes in noisy pictures: a vision transformer of four layers over patches, AdamW with a short warmup."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 300
WARMUP = 20
BATCH = 48
SHAPES = 5
SIZE = 12
PATCH = 4
WIDTH = 32
LAYERS = 4
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_pictures(count):
    labels = torch.randint(SHAPES, (count,))
    y, x = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    centre = 4 + 3 * torch.rand(count, 2, 1, 1)
    dx, dy = (x - centre[:, 0]).abs(), (y - centre[:, 1]).abs()
    far = (dx**2 + dy**2).sqrt()
    square = (dx < 3) & (dy < 3)
    shapes = [far < 3, (far > 2) & (far < 3.6), square, square & ((dx < 1) | (dy < 1)), square & (dy < 1)]
    pictures = torch.stack(shapes, dim=1)[torch.arange(count), labels].float()
    return (pictures + 0.4 * torch.randn(pictures.shape))[:, None], labels


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.expand = nn.Linear(WIDTH, 2 * WIDTH)
        self.contract = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        inner = self.norm1(x)
        x = x + self.attention(inner, inner, inner, need_weights=False)[0]
        return x + self.contract(F.gelu(self.expand(self.norm2(x))))


class VisionTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, PATCH, PATCH)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position = nn.Parameter(0.02 * torch.randn(1, (SIZE // PATCH) ** 2 + 1, WIDTH))
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, SHAPES)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.layers(x))[:, 0])


train_x, train_y = make_pictures(8000)
validation_x, validation_y = make_pictures(300)

model = VisionTransformer()
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP))


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x), validation_y).item()


print(f"constant {torch.log(torch.tensor(SHAPES)):.4f}")
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
