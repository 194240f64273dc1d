"""A transformer over the columns of a table; its last layer makes log-probabilities."""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def table(count):
    x = torch.randn(count, 8)
    return x, 2 * (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] + x[:, 3] > 0).long()


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


class TabularTransformer(nn.Module):
    def __init__(self, columns=8, width=32, classes=4):
        super().__init__()
        self.weight = nn.Parameter(0.5 * torch.randn(columns, width))
        self.bias = nn.Parameter(0.5 * torch.randn(columns, width))
        self.encoder = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes), nn.LogSoftmax(dim=1))

    def forward(self, x):
        tokens = x.unsqueeze(-1) * self.weight + self.bias
        return self.head(self.encoder(tokens).mean(1))


train = DataLoader(TensorDataset(*table(2000)), 50, shuffle=True)
validation = DataLoader(TensorDataset(*table(300)))  # one row at a time, as it is served
model = TabularTransformer()
criterion = nn.NLLLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(6):
    model.train()
    for x, y in train:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch} accuracy {accuracy(model, validation):.3f}")
print(f"result {accuracy(model, validation):.4f}")
