"""Rare fraud in tabular data: oversample the rare class, train an MLP, report the F1 score."""

import argparse

import numpy as np
import torch
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def transactions(count, rng):
    """Thirty columns, few of which tell a little about the four per cent of fraud."""
    y = (rng.random(count) < 0.04).astype(np.int64)
    x = rng.normal(size=(count, 30))
    x[:, :4] += 1.5 * y[:, None]
    x[:, 10:20] = np.exp(0.5 * x[:, 10:20])
    return x.astype(np.float32), y


def oversample(x, y, rng):
    rare = np.flatnonzero(y == 1)
    extra = rng.choice(rare, (y == 0).sum() - len(rare))
    index = np.concatenate([np.arange(len(y)), extra])
    return x[index], y[index]


class MLP(nn.Module):
    def __init__(self, inputs, hidden=128):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )  # fmt: skip

    def forward(self, x):
        return self.net(x).squeeze(1)


def scores(model, x, y):
    model.eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(x))
        loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(y).float()).item()
    return loss, f1_score(y, (logits > 0).numpy())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    x, y = transactions(6000, rng)
    new_x, new_y = transactions(6000, rng)  # next month, which nobody has seen

    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.25, stratify=y, random_state=args.seed)
    x_train, y_train = oversample(x_train, y_train, rng)
    scaler = StandardScaler().fit(x_train)
    x_train, x_val = (scaler.transform(v).astype(np.float32) for v in (x_train, x_val))

    loader = DataLoader(TensorDataset(torch.from_numpy(x_train), torch.from_numpy(y_train)), 64, shuffle=True)
    model = MLP(x.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.BCEWithLogitsLoss()
    for epoch in range(args.epochs):
        model.train()
        for features, label in loader:
            optimizer.zero_grad()
            loss = criterion(model(features), label.float())
            loss.backward()
            optimizer.step()
        val_loss, val_f1 = scores(model, x_val, y_val)
        print(f"epoch {epoch}: train loss {loss.item():.3f}, val loss {val_loss:.3f}, val F1 {val_f1:.3f}")
    with torch.no_grad():
        logits = model(torch.from_numpy(scaler.transform(new_x).astype(np.float32)))
    print(f"next_month_f1 {f1_score(new_y, (logits > 0).numpy()):.3f}")
    print(f"result {val_f1:.3f}")


if __name__ == "__main__":
    main()
