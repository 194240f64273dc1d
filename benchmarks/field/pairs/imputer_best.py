"""Fill in the missing values of a small table with an autoencoder; the weights of the best epoch are kept."""

import argparse
import copy

import torch
from torch import nn


def table(rows, mixing, generator):
    """Twenty columns that follow from three hidden causes, and noise."""
    causes = torch.randn(rows, 3, generator=generator)
    return torch.tanh(causes @ mixing) + 0.3 * torch.randn(rows, 20, generator=generator)


class Imputer(nn.Module):
    def __init__(self, columns, width):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2 * columns, width), nn.ELU(), nn.Linear(width, width), nn.ELU(), nn.Linear(width, columns)
        )

    def forward(self, values, known):
        return self.body(torch.cat([values * known, known], 1))


def imputation_loss(model, values, known):
    missing = 1 - known
    return ((model(values, known) - values) ** 2 * missing).sum() / missing.sum()


def fit(model, train, held, epochs, patience, generator):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    held_known = (torch.rand(held.shape, generator=generator) < 0.7).float()
    train_known = (torch.rand(train.shape, generator=generator) < 0.7).float()
    best_loss, best_epoch, best_state = float("inf"), 0, None
    for epoch in range(epochs):
        model.train()
        for rows in torch.randperm(len(train), generator=generator).split(20):
            optimizer.zero_grad()
            loss = imputation_loss(model, train[rows], train_known[rows])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            held_loss = imputation_loss(model, held, held_known).item()
        if held_loss < best_loss:
            best_loss, best_epoch, best_state = held_loss, epoch, copy.deepcopy(model.state_dict())
        print(f"epoch {epoch} train {loss.item():.3f} validation {held_loss:.3f} best {best_loss:.3f}")
        if epoch - best_epoch >= patience:
            break
    model.load_state_dict(best_state)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=160)
    parser.add_argument("--patience", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    g = torch.Generator().manual_seed(args.seed)
    mixing = torch.randn(3, 20, generator=g)
    train, held, test = (table(rows, mixing, g) for rows in (300, 200, 1000))
    model = Imputer(20, 128)
    fit(model, train, held, args.epochs, args.patience, g)
    known = (torch.rand(test.shape, generator=g) < 0.7).float()
    with torch.no_grad():
        error = imputation_loss(model, test, known).item()
    print(f"result {error:.4f}")


if __name__ == "__main__":
    main()
