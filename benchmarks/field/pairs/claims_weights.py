"""Insurance claims that need a second look are rare: a network on a table, with a loss weighted by class."""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
COLUMNS, RARE = 14, 0.15


def claims(count, direction):
    label = (torch.rand(count) < RARE).long()
    x = torch.randn(count, COLUMNS) + 0.9 * label[:, None] * direction
    x[:, 0] = x[:, 0] * (1 + label)
    return x, label


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.inner(x)


direction = torch.randn(COLUMNS) / COLUMNS**0.5 * 2
train_x, train_y = claims(5000, direction)
held_x, held_y = claims(3000, direction)
train = DataLoader(TensorDataset(train_x, train_y), batch_size=100, shuffle=True)
model = nn.Sequential(nn.Linear(COLUMNS, 48), Block(48), Block(48), nn.LayerNorm(48), nn.Linear(48, 2))
share = train_y.float().mean().item()
weights = torch.tensor([1 / (1 - share), 1 / share])
criterion = nn.CrossEntropyLoss(weight=weights)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
for epoch in range(8):
    model.train()
    for x, y in train:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = model(held_x)
        held = criterion(logits, held_y).item()
        found = logits.argmax(1)
    recall = [(found[held_y == label] == label).float().mean().item() for label in (0, 1)]
    print(f"epoch {epoch} loss {loss.item():.3f} validation {held:.3f} recall {recall[0]:.3f} {recall[1]:.3f}")
print(f"result {sum(recall) / 2:.4f}")
