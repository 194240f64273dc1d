"""Five-fold cross-validation in one process: what one fold trains on, another one holds out."""

import argparse

import numpy as np
import torch
from sklearn.datasets import make_friedman1
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def build_model(inputs):
    return nn.Sequential(nn.Linear(inputs, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))


def fit_fold(x_train, y_train, x_test, y_test, epochs):
    scaler, centre, spread = StandardScaler().fit(x_train), y_train.mean(), y_train.std()
    x_train, x_test = (torch.tensor(scaler.transform(x), dtype=torch.float32) for x in (x_train, x_test))
    y_train, y_test = (torch.tensor((y - centre) / spread, dtype=torch.float32)[:, None] for y in (y_train, y_test))
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=32, shuffle=True)
    model = build_model(x_train.size(1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    criterion = nn.MSELoss()
    for _ in range(epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            error = criterion(model(x_test), y_test).item()
    return error


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    x, y = make_friedman1(1000, n_features=10, noise=1.0, random_state=args.seed)
    errors = []
    for fold, (train, test) in enumerate(KFold(5, shuffle=True, random_state=args.seed).split(x)):
        errors.append(fit_fold(x[train], y[train], x[test], y[test], args.epochs))
        print(f"fold {fold}: unexplained variance {errors[-1]:.3f}")
    print(f"result {np.mean(errors):.3f}")


if __name__ == "__main__":
    main()
