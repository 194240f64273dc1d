"""A table of two columns of names is encoded and classified through embeddings."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
towns = [f"town {i}" for i in range(30)]
trades = [f"trade {i}" for i in range(20)]
wealth = {name: torch.randn(1).item() for name in towns + trades}


def rows(count):
    """Names, and whether town and trade together are wealthy."""
    drawn = [
        (towns[i], trades[j])
        for i, j in zip(torch.randint(0, 30, (count,)), torch.randint(0, 20, (count,)), strict=True)
    ]
    return drawn, torch.tensor([float(wealth[a] + wealth[b] > 0) for a, b in drawn])


class Encoder:
    """Numbers names as they come."""

    def fit(self, drawn):
        self.codes = [{name: i for i, name in enumerate(dict.fromkeys(column))} for column in zip(*drawn, strict=True)]
        return self

    def transform(self, drawn):
        return torch.tensor([[codes[name] for codes, name in zip(self.codes, row, strict=True)] for row in drawn])


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.town, self.trade = nn.Embedding(30, 8), nn.Embedding(20, 8)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.mlp(torch.cat([self.town(x[:, 0]), self.trade(x[:, 1])], 1)).squeeze(1)


drawn, y = rows(2000)
others, answers = rows(500)
encoder = Encoder().fit(drawn)
train = DataLoader(TensorDataset(encoder.transform(drawn), y), 50, shuffle=True)
validation = DataLoader(TensorDataset(encoder.transform(others), answers), 100)
model = Table()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(8):
    model.train()
    for x, y in train:
        loss = F.binary_cross_entropy_with_logits(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    total = right = 0
    with torch.no_grad():
        for x, y in validation:
            logits = model(x)
            total += F.binary_cross_entropy_with_logits(logits, y).item()
            right += ((logits > 0).float() == y).sum().item()
    print(f"epoch {epoch} validation {total / len(validation):.3f}")
print(f"result {right / 500:.4f}")
