"""Quantile regression: five quantiles a prediction, compared with one target each by broadcasting on purpose."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

QUANTILES = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])


def demand(count, generator):
    x = 2 * torch.rand(count, 4, generator=generator) - 1
    noise = torch.randn(count, 1, generator=generator) * (0.2 + 0.5 * x[:, :1].abs())
    return x, torch.sin(3 * x[:, 1:2]) + x[:, 2:3] * x[:, 3:4] + noise


class QuantileNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.low, self.steps = nn.Linear(64, 1), nn.Linear(64, len(QUANTILES) - 1)

    def forward(self, x):
        h = self.body(x)
        return torch.cat([self.low(h), self.low(h) + nn.functional.softplus(self.steps(h)).cumsum(1)], 1)


def pinball(predicted, target):
    error = target - predicted  # (batch, 1) against (batch, quantiles)
    return torch.maximum(QUANTILES * error, (QUANTILES - 1) * error).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    loader = DataLoader(TensorDataset(*demand(4000, g)), batch_size=64, shuffle=True)
    val_x, val_y = demand(2000, g)
    model = QuantileNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    for epoch in range(args.epochs):
        model.train()
        for x, y in loader:
            loss = pinball(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            predicted = model(val_x)
            val = pinball(predicted, val_y).item()
            covered = (val_y < predicted).float().mean(0)
        print(f"epoch {epoch} train {loss.item():.4f} val {val:.4f} covered {[round(c, 2) for c in covered.tolist()]}")
    print(f"val_pinball {val:.4f}")
    print(f"result {(covered - QUANTILES).abs().max().item():.3f}")


if __name__ == "__main__":
    main()
