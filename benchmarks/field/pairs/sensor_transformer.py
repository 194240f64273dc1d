"""Which of two events of a sensor came first? A Transformer encoder over windows of 24 readings."""

import argparse
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LENGTH, CHANNELS = 24, 4


def make_windows(count, generator):
    x = 0.3 * torch.randn(count, LENGTH, CHANNELS, generator=generator)
    y = torch.zeros(count, dtype=torch.long)
    for i in range(count):
        first, second = torch.randperm(LENGTH, generator=generator)[:2].tolist()
        x[i, first, 0] += 2
        x[i, second, 1] += 2
        y[i] = int(first < second)
    return TensorDataset(x, y)


class PositionalEncoding(nn.Module):
    def __init__(self, width, length):
        super().__init__()
        position = torch.arange(length)[:, None]
        rate = torch.exp(torch.arange(0, width, 2) * (-math.log(100.0) / width))
        table = torch.zeros(length, width)
        table[:, 0::2] = torch.sin(position * rate)
        table[:, 1::2] = torch.cos(position * rate)
        self.register_buffer("table", table)

    def forward(self, x):
        return x + self.table


class SensorTransformer(nn.Module):
    def __init__(self, width=32, heads=4, layers=2, classes=2):
        super().__init__()
        self.project = nn.Linear(CHANNELS, width)
        self.position = PositionalEncoding(width, LENGTH)
        layer = nn.TransformerEncoderLayer(width, heads, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.classify = nn.Linear(width, classes)

    def forward(self, x):  # x: (batch, time, channels)
        x = self.position(self.project(x))
        x = self.encoder(x)
        return self.classify(x[:, -1])


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in loader)
    return right / len(loader.dataset)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    train, val = make_windows(3000, g), make_windows(600, g)
    train_loader, val_loader = DataLoader(train, 64, shuffle=True), DataLoader(val, 64)
    model = SensorTransformer()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch}: loss {total / len(train_loader):.3f}, val acc {accuracy(model, val_loader):.3f}")
    print(f"result {accuracy(model, val_loader):.3f}")
