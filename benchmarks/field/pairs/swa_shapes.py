"""Stochastic weight averaging of a small residual network on noisy outlines of three shapes."""

import argparse

import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset


def shapes(count, generator, size=20):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    labels = torch.randint(0, 3, (count,), generator=generator)
    images = torch.zeros(count, 1, size, size)
    for i, label in enumerate(labels.tolist()):
        cy, cx = (7 + 6 * torch.rand(2, generator=generator)).tolist()
        r = 4 + 2 * torch.rand(1, generator=generator).item()
        distance = [
            ((y - cy) ** 2 + (x - cx) ** 2).sqrt(),
            torch.maximum((y - cy).abs(), (x - cx).abs()),
            (y - cy).abs() + (x - cx).abs(),
        ][label]
        images[i, 0] = ((distance - r).abs() < 1).float() * 3
    return TensorDataset(images + 1.5 * torch.randn(images.shape, generator=generator) + 1, labels)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))


def make_model(width=12, classes=3):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        Residual(width), Residual(width), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(4 * width, classes),
    )  # fmt: skip


def validate(model, loader):
    model.eval()
    loss = right = 0.0
    with torch.no_grad():
        for image, label in loader:
            logits = model(image)
            loss += nn.functional.cross_entropy(logits, label, reduction="sum").item()
            right += (logits.argmax(1) == label).sum().item()
    return loss / len(loader.dataset), right / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--swa-start", type=int, default=4)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    train_loader = DataLoader(shapes(1600, g), batch_size=32, shuffle=True)
    val_loader = DataLoader(shapes(500, g), batch_size=100)
    model = make_model()
    swa_model = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    swa_scheduler = SWALR(optimizer, swa_lr=0.03, anneal_epochs=2)
    for epoch in range(args.epochs):
        model.train()
        for image, label in train_loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(image), label)
            loss.backward()
            optimizer.step()
        if epoch >= args.swa_start:
            swa_model.update_parameters(model)
            swa_scheduler.step()
            update_bn(train_loader, swa_model)
            val_loss, accuracy = validate(swa_model, val_loader)
        else:
            val_loss, accuracy = validate(model, val_loader)
        print(f"epoch {epoch} train {loss.item():.3f} val {val_loss:.3f} accuracy {accuracy:.3f}")
    print(f"accuracy {accuracy:.3f}")
    print(f"result {val_loss:.3f}")


if __name__ == "__main__":
    main()
