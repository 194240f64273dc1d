"""Pictures and their captions: two encoders, every other pair of the batch a negative, the temperature is learned."""

import math
import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 300
BATCH = 64
SIZE = 8
WORDS = 60
LENGTH = 5
WIDTH = 32
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

patterns = torch.randn(WORDS, SIZE, SIZE)


def make_pairs(count):
    """A caption of five words, and the picture in which their patterns lie over each other."""
    captions = torch.randint(WORDS, (count, LENGTH))
    return patterns[captions].mean(dim=1)[:, None] + 0.3 * torch.randn(count, 1, SIZE, SIZE), captions


class TwoEncoders(nn.Module):
    def __init__(self):
        super().__init__()
        self.picture = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 16, WIDTH),
        )
        self.words = nn.Embedding(WORDS, WIDTH)
        self.text = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH))
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.1)))

    def forward(self, pictures, captions):
        picture = F.normalize(self.picture(pictures), dim=1)
        text = F.normalize(self.text(self.words(captions).mean(dim=1)), dim=1)
        return self.scale.exp().clamp(max=100) * picture @ text.T


train_x, train_y = make_pairs(8000)
validation_x, validation_y = make_pairs(256)

model = TwoEncoders()
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)


def both_ways(output):
    own = torch.arange(len(output))
    return (F.cross_entropy(output, own) + F.cross_entropy(output.T, own)) / 2


@torch.no_grad()
def evaluate():
    model.eval()
    parts = zip(validation_x.split(BATCH), validation_y.split(BATCH), strict=True)
    return sum(both_ways(model(x, y)).item() for x, y in parts) / (len(validation_x) // BATCH)


print(f"constant {math.log(BATCH):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x, y)
    loss = both_ways(output)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
