"""Fine-tune in three stages: head, last block, all; a new optimizer a stage, BatchNorm kept in evaluation mode."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def spots(count, classes, generator, size=16):
    """Blobs whose shape tells the class."""
    labels = torch.randint(0, classes, (count,), generator=generator)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centre = 6 + 4 * torch.rand(count, 2, 1, 1, generator=generator)
    stretch = torch.linspace(-1.2, 1.2, classes)[labels][:, None, None].exp()
    distance = ((y - centre[:, 0]) ** 2 * stretch + (x - centre[:, 1]) ** 2 / stretch) / 8
    image = 2 * torch.exp(-distance) + 0.4 * torch.randn(count, size, size, generator=generator)
    return TensorDataset(image[:, None], labels)


def conv(cin, cout):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, 2, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU())


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.block1, self.block2, self.block3 = conv(1, 16), conv(16, 32), conv(32, 32)
        self.head = nn.Linear(32 * 4, classes)

    def forward(self, x):
        return self.head(self.block3(self.block2(self.block1(x))).flatten(1))


def freeze_batchnorm(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def fit(model, optimizer, train, val, epochs, frozen_norm):
    for _ in range(epochs):
        model.train()
        if frozen_norm:
            freeze_batchnorm(model)
        for x, y in train:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(x).argmax(1) == y).sum().item() for x, y in val)
        print(f"loss {loss.item():.3f} accuracy {right / len(val.dataset):.3f}")
    return right / len(val.dataset)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    loaders = [DataLoader(spots(n, 8, g), 64, shuffle=n > 500) for n in (2500, 500)]
    model = Net(8)
    fit(model, torch.optim.Adam(model.parameters(), lr=2e-3), *loaders, epochs=4, frozen_norm=False)

    loaders = [DataLoader(spots(n, 5, g), 32, shuffle=n > 500) for n in (800, 500)]
    model.requires_grad_(False)
    model.head = nn.Linear(32 * 4, 5)
    stages = [([model.head], 2e-3), ([model.head, model.block3], 1e-3), ([model], 3e-4)]
    for stage, (parts, lr) in enumerate(stages):
        for part in parts:
            part.requires_grad_(True)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
        print(f"stage {stage}: {sum(p.numel() for p in model.parameters() if p.requires_grad)} parameters")
        accuracy = fit(model, optimizer, *loaders, epochs=4, frozen_norm=True)
    print(f"result {accuracy:.3f}")


if __name__ == "__main__":
    main()
