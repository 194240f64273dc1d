"""Which of two word families rules a sentence? LSTM classifier, gradient accumulation, linear warmup and decay."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

VOCAB, LENGTH, CLASSES = 200, 20, 4


def sentences(count, generator):
    """Each word belongs to a family (its id modulo 7); the last word of families 0 to 3 decides."""
    words = torch.randint(1, VOCAB, (count, LENGTH), generator=generator)
    family = words % 7
    place = torch.where(family < CLASSES, torch.arange(LENGTH), -1)
    last = place.argmax(1)
    labels = family.gather(1, last[:, None]).squeeze(1)
    labels = torch.where(labels < CLASSES, labels, 0)
    return TensorDataset(words, labels)


class Classifier(nn.Module):
    def __init__(self, width=32, hidden=64):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(hidden, CLASSES)

    def forward(self, words):
        out, _ = self.lstm(self.embed(words))
        return self.head(self.drop(out[:, -1]))


def linear_schedule(optimizer, warmup, total):
    def factor(step):
        if step < warmup:
            return step / max(1, warmup)
        return max(0.0, (total - step) / max(1, total - warmup))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--accumulate", type=int, default=4)
    parser.add_argument("--lr", type=float, default=5e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    train_loader = DataLoader(sentences(4096, g), batch_size=8, shuffle=True)
    val_loader = DataLoader(sentences(1000, g), batch_size=200)
    model = Classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    updates = args.epochs * len(train_loader) // args.accumulate
    scheduler = linear_schedule(optimizer, updates // 10, updates)
    for epoch in range(args.epochs):
        model.train()
        running = 0.0
        for i, (words, labels) in enumerate(train_loader):
            loss = nn.functional.cross_entropy(model(words), labels)
            (loss / args.accumulate).backward()
            running += loss.item()
            if (i + 1) % args.accumulate == 0:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            right = sum((model(w).argmax(1) == y).sum().item() for w, y in val_loader)
        print(f"epoch {epoch} loss {running / len(train_loader):.3f} val acc {right / 1000:.3f}")
    print(f"result {right / 1000:.3f}")


if __name__ == "__main__":
    main()
