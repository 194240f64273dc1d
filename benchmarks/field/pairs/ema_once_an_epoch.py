"""A vision transformer, of whose weights an exponential moving average is evaluated."""

import copy
import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def images(count):
    """Ten blurred patterns of 8 x 8 pixels, each moved by up to a pixel, with noise."""
    source = torch.Generator().manual_seed(1)
    patterns = F.interpolate(torch.rand(10, 1, 4, 4, generator=source), size=8, mode="bilinear")
    y = torch.randint(0, 10, (count,))
    moves = torch.randint(-1, 2, (count, 2)).tolist()
    x = torch.stack([patterns[one].roll(move, (1, 2)) for one, move in zip(y.tolist(), moves, strict=True)])
    return (x + 0.15 * torch.randn_like(x)).clamp(0, 1), y


class ViT(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, 17, width))
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        return self.head(self.encoder(x)[:, 0])


@torch.no_grad()
def update(average, model, decay=0.98):
    for mine, other in zip(average.parameters(), model.parameters(), strict=True):
        mine.lerp_(other, 1 - decay)


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


train = DataLoader(TensorDataset(*images(1400)), 35, shuffle=True)
validation = DataLoader(TensorDataset(*images(400)), 100)
model = ViT()
average = copy.deepcopy(model).requires_grad_(False)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for epoch in range(8):
    model.train()
    for x, y in train:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        update(average, model)
    print(f"epoch {epoch} accuracy {accuracy(average, validation):.3f}")
print(f"result {accuracy(average, validation):.4f}")
