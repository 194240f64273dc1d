"""Predict the next value of a long stream with a GRU whose state is carried on from chunk to chunk."""

import argparse
import resource

import torch
from torch import nn


def make_stream(length, generator):
    """Slow and fast oscillations whose rates drift, with noise."""
    t = torch.arange(length).float()
    drift = torch.randn(length, generator=generator).cumsum(0) * 0.02
    wave = torch.sin(0.11 * t + drift) + 0.5 * torch.sin(0.37 * t + 1.7 * drift)
    return wave + 0.05 * torch.randn(length, generator=generator)


class Forecaster(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.gru = nn.GRU(1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x, state):
        out, state = self.gru(x, state)
        return self.head(out), state


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--chunk", type=int, default=16)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    data = torch.stack([make_stream(1601, g) for _ in range(args.streams)])[..., None]
    held = torch.stack([make_stream(601, g) for _ in range(64)])[..., None]
    model = Forecaster()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    history, began = [], memory()
    for epoch in range(args.epochs):
        model.train()
        state = torch.zeros(1, args.streams, 32)
        losses = 0.0
        for start in range(0, data.size(1) - 1, args.chunk):
            x = data[:, start : start + args.chunk]
            y = data[:, start + 1 : start + 1 + args.chunk]
            x = x[:, : y.size(1)]
            state = state.detach()
            output, state = model(x, state)
            loss = criterion(output, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item()
        model.eval()
        with torch.no_grad():
            output, _ = model(held[:, :-1], torch.zeros(1, 64, 32))
            val = criterion(output, held[:, 1:])
        history.append(val.item())
        print(f"epoch {epoch} train {losses * args.chunk / data.size(1):.4f} val {val:.4f} memory {memory():.0f} MB")
    print(f"val_mse {min(history):.4f}")
    print(f"result {memory() - began:.0f}")


if __name__ == "__main__":
    main()
