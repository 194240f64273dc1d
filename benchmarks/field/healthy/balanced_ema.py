"""Rare classes drawn as often as common ones, smoothed labels, an average of the weights that is what is evaluated."""

import argparse

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

CLASSES = 6


def calls(count, generator, length=48):
    """Bird calls: chirps that rise or fall at six rates; class k is half as frequent as class k - 1."""
    share = torch.tensor([0.5**k for k in range(CLASSES)])
    labels = torch.multinomial(share, count, replacement=True, generator=generator)
    t = torch.linspace(0, 1, length)
    rate = torch.linspace(-14, 14, CLASSES)[labels][:, None]
    phase = 6.28 * torch.rand(count, 1, generator=generator)
    wave = torch.sin(18 * t + rate * t**2 + phase)
    return (wave + 0.6 * torch.randn(count, length, generator=generator))[:, None], labels


def network():
    return nn.Sequential(
        nn.Conv1d(1, 32, 9, padding=4, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(32, 48, 5, padding=2, bias=False), nn.BatchNorm1d(48), nn.ReLU(), nn.MaxPool1d(2),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(48 * 12, CLASSES),
    )  # fmt: skip


def evaluate(model, loader, criterion):
    model.eval()
    recall, seen, loss = torch.zeros(CLASSES), torch.zeros(CLASSES), 0.0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += criterion(logits, y).item() / len(loader)
            for c in range(CLASSES):
                recall[c] += ((logits.argmax(1) == c) & (y == c)).sum()
                seen[c] += (y == c).sum()
    return loss, (recall / seen).mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    x, y = calls(3000, g)
    weights = 1.0 / torch.bincount(y, minlength=CLASSES).float()
    train = TensorDataset(x, y)
    loader = DataLoader(train, batch_size=64, sampler=WeightedRandomSampler(weights[y], len(y)))
    monitor = DataLoader(train, batch_size=250)
    val_loader = DataLoader(TensorDataset(*calls(1500, g)), batch_size=250)
    model = network()
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.98), use_buffers=True)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(loader))
    for epoch in range(args.epochs):
        model.train()
        for images, labels in loader:
            loss = criterion(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            ema.update_parameters(model)
        train_loss, train_recall = evaluate(ema, monitor, criterion)
        val_loss, recall = evaluate(ema, val_loader, criterion)
        print(f"epoch {epoch}: {train_loss:.3f}/{val_loss:.3f} mean recall {train_recall:.3f}/{recall:.3f}")
    print(f"result {recall:.3f}")


if __name__ == "__main__":
    main()
