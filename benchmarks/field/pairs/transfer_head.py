"""Pretrain a small CNN on ten textures, then fine-tune it on a new task with three classes and a new head."""

import argparse

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


def gratings(count, classes, offset, generator, size=16, noise=1.0):
    labels = torch.randint(0, classes, (count,), generator=generator)
    angle = (labels + offset) * 3.14159 / classes
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    phase = 6.28 * torch.rand(count, 1, 1, generator=generator)
    wave = torch.sin(0.8 * (angle.cos()[:, None, None] * x + angle.sin()[:, None, None] * y) + phase)
    return TensorDataset((wave + noise * torch.randn(count, size, size, generator=generator))[:, None], labels)


class SmallResNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 5, stride=2, padding=2), nn.BatchNorm2d(24), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
                                   nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24))  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(24, num_classes)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.block(x))
        return self.fc(self.pool(x).flatten(1))


def fit(model, optimizer, loader, val_loader, epochs, title):
    criterion = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            pairs = [(model(x), y) for x, y in val_loader]
        acc = sum((p.argmax(1) == y).sum().item() for p, y in pairs) / len(val_loader.dataset)
        val = sum(criterion(p, y).item() for p, y in pairs) / len(pairs)
        print(f"{title} {epoch}: train {loss.item():.3f} val {val:.3f} acc {acc:.3f}")
    return acc, val


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    model = SmallResNet(num_classes=10)
    loaders = [DataLoader(gratings(n, 10, 0, g), 64, shuffle=n > 500) for n in (2500, 500)]
    fit(model, optim.SGD(model.parameters(), lr=0.05, momentum=0.9), *loaders, epochs=3, title="pretrain")

    loaders = [DataLoader(gratings(n, 3, 0.5, g, noise=2.0), 32, shuffle=n > 500) for n in (600, 500)]
    for parameter in list(model.stem.parameters()) + list(model.block.parameters()):
        parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    acc, val = fit(model, optimizer, *loaders, epochs=8, title="fine-tune")
    print(f"val_loss {val:.3f}")
    print(f"result {acc:.3f}")


if __name__ == "__main__":
    main()
