"""Count dots: pictures are made on the fly in two loader workers, so that no picture is seen twice."""

import argparse

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class RandomDots(Dataset):
    """Zero to seven blurred dots of random size among dim rings; each item is drawn anew."""

    def __init__(self, count, seed, size=24):
        self.count, self.size, self.seed = count, size, seed
        self.rng = None

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if self.rng is None:
            self.rng = np.random.default_rng(torch.initial_seed() % 2**32)
        y, x = np.mgrid[: self.size, : self.size]
        number = self.rng.integers(0, 8)
        image = 0.5 * self.rng.normal(size=(self.size, self.size))
        for _ in range(number):
            cy, cx = self.rng.uniform(2, self.size - 2, 2)
            image += 1.6 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / self.rng.uniform(1.5, 3.0))
        cy, cx = self.rng.uniform(4, self.size - 4, 2)
        image += np.exp(-((np.hypot(y - cy, x - cx) - 4) ** 2))
        return torch.from_numpy(image.astype(np.float32))[None], torch.tensor(float(number))


class Counter(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(36 * width, 64), nn.ReLU(), nn.Linear(64, 1),
        )  # fmt: skip

    def forward(self, x):
        return self.net(x).squeeze(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    loader = DataLoader(RandomDots(192, args.seed), batch_size=32, num_workers=args.workers)
    held = RandomDots(400, args.seed)
    held.rng = np.random.default_rng(12345)
    val_loader = DataLoader(held, batch_size=100)
    val = [tuple(batch) for batch in val_loader]
    model = Counter()
    optimizer = torch.optim.Adam(model.parameters(), lr=1.5e-3)
    criterion = nn.MSELoss()
    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        for image, number in loader:
            loss = criterion(model(image), number)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            val_loss = sum(criterion(model(image), number).item() for image, number in val) / len(val)
        if epoch % 5 == 4:
            print(f"epoch {epoch} train {total / len(loader):.3f} val {val_loss:.3f}")
    print(f"result {val_loss:.3f}")


if __name__ == "__main__":
    main()
