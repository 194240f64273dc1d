"""Uncertain regression: dropout stays on in the evaluation on purpose, and predictions are means of thirty passes."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def wine(count, generator):
    x = torch.randn(count, 8, generator=generator)
    y = torch.sin(x[:, 0]) + 0.5 * x[:, 1] * x[:, 2] + 0.3 * x[:, 3]
    return x, y + 0.1 * torch.randn(count, generator=generator)


class BayesianMLP(nn.Module):
    def __init__(self, p=0.1):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(8, 96), nn.ReLU(), nn.Dropout(p), nn.Linear(96, 96), nn.ReLU(), nn.Dropout(p), nn.Linear(96, 1)
        )  # fmt: skip

    def forward(self, x):
        return self.net(x).squeeze(-1)


def enable_dropout(model):
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()


@torch.no_grad()
def mc_predict(model, x, samples=30):
    enable_dropout(model)
    draws = torch.stack([model(x) for _ in range(samples)])
    return draws.mean(0), draws.std(0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    loader = DataLoader(TensorDataset(*wine(3000, g)), batch_size=64, shuffle=True)
    val_x, val_y = wine(500, g)
    model = BayesianMLP()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-5)
    for epoch in range(args.epochs):
        model.train()
        for x, y in loader:
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        mean, spread = mc_predict(model, val_x)
        error = nn.functional.mse_loss(mean, val_y).item()
        trust = torch.corrcoef(torch.stack([spread, (mean - val_y).abs()]))[0, 1].item()
        print(f"epoch {epoch} train {loss.item():.4f} val {error:.4f} spread against error {trust:.2f}")
    print(f"variance {val_y.var().item():.3f} trust {trust:.2f}")
    print(f"result {error:.4f}")


if __name__ == "__main__":
    main()
