"""Forecast the sales of many shops of very different size: every window is scaled by its own past."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

PAST, AHEAD = 28, 7


def sales(shops, days, generator):
    """A level from tens to thousands, a weekly pattern, a slow wave, and noise in proportion."""
    level = 10 ** (1.5 + 2 * torch.rand(shops, 1, generator=generator))
    week = 0.4 * torch.randn(shops, 7, generator=generator).repeat(1, days // 7 + 1)[:, :days]
    wave = 0.3 * torch.sin(torch.arange(days) / 20 + 6.28 * torch.rand(shops, 1, generator=generator))
    return level * (1 + week + wave + 0.05 * torch.randn(shops, days, generator=generator))


class Windows(Dataset):
    def __init__(self, series):
        self.windows = series.unfold(1, PAST + AHEAD, 3).flatten(0, 1)

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, index):
        past, ahead = self.windows[index].split([PAST, AHEAD])
        centre, scale = past.mean(), past.std()
        return {"past": (past - centre) / scale, "scale": torch.stack([centre, scale])}, (ahead - centre) / scale


class Forecaster(nn.Module):
    """Blocks that explain a part of the past and hand on the rest."""

    def __init__(self, blocks=3, width=64):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(PAST, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PAST + AHEAD)
            )
            for _ in range(blocks)
        )

    def forward(self, past):
        ahead = 0.0
        for block in self.blocks:
            explained, part = block(past).split([PAST, AHEAD], 1)
            past, ahead = past - explained, ahead + part
        return ahead


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    g = torch.Generator().manual_seed(args.seed)
    series = sales(120, 140, g)
    train = DataLoader(Windows(series[:, :100]), batch_size=64, shuffle=True)
    validation = DataLoader(Windows(series[:, 72:]), batch_size=256)
    model, criterion = Forecaster(), nn.L1Loss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(args.epochs):
        model.train()
        for batch, ahead in train:
            loss = criterion(model(batch["past"]), ahead)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        held, error, size = 0.0, 0.0, 0.0
        with torch.no_grad():
            for batch, ahead in validation:
                forecast, (centre, scale) = model(batch["past"]), batch["scale"].T[..., None]
                held += criterion(forecast, ahead).item() / len(validation)
                sold = ahead * scale + centre
                error += ((forecast * scale + centre - sold).abs() / centre).sum().item()
                size += sold.numel()
        print(f"epoch {epoch} loss {loss.item():.3f} validation {held:.3f} error {error / size:.3f}")
    print(f"result {error / size:.4f}")


if __name__ == "__main__":
    main()
