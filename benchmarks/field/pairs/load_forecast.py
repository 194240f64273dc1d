"""Forecast tomorrow's load from a week of hours and the weather with a TCN; root mean squared error by hand."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class LoadData(Dataset):
    def __init__(self, days, seed):
        g = torch.Generator().manual_seed(seed)
        hours = torch.arange(days * 24)
        weather = torch.randn(days * 24, generator=g).cumsum(0) * 0.05
        weather = weather - weather.mean()
        week = 0.6 * ((hours // 24) % 7 >= 5)
        self.load = torch.sin(hours * 2 * torch.pi / 24) + weather - week + 0.1 * torch.randn(len(hours), generator=g)
        self.inputs = torch.stack([self.load, weather, (hours // 24 % 7) / 6.0])
        self.days = days

    def __len__(self):
        return self.days - 8

    def __getitem__(self, day):
        start = day * 24
        x = self.inputs[:, start : start + 168 : 3]
        return x, self.load[start + 168 : start + 192].max()


class Block(nn.Module):
    def __init__(self, cin, cout, dilation):
        super().__init__()
        self.conv = nn.Conv1d(cin, cout, 3, padding=dilation, dilation=dilation)
        self.skip = nn.Conv1d(cin, cout, 1)

    def forward(self, x):
        return torch.relu(self.conv(x)) + self.skip(x)


class TCN(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.blocks = nn.Sequential(Block(3, width, 1), Block(width, width, 2), Block(width, width, 4))
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.blocks(x)[:, :, -1])


def rmse(predicted, actual):
    return torch.sqrt(torch.mean((predicted - actual) ** 2) + 1e-8)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    train = DataLoader(LoadData(1000, args.seed), batch_size=32, shuffle=True, drop_last=True)
    val = DataLoader(LoadData(300, args.seed + 1), batch_size=64)
    model = TCN()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        for x, y in train:
            optimizer.zero_grad()
            prediction = model(x).squeeze(-1)
            loss = rmse(prediction, y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            errors = torch.cat([model(x).squeeze(-1) - y for x, y in val])
        print(f"epoch {epoch}: train rmse {total / len(train):.4f}, val mae {errors.abs().mean().item():.4f}")
    print(f"result {errors.abs().mean().item():.4f}")


if __name__ == "__main__":
    main()
