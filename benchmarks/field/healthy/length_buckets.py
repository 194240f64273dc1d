"""Curriculum: batches of one length, short sentences first, in the same order every epoch; sum over the tokens."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

VOCAB = 10


class Sums(Dataset):
    """Is the sum of the digits even, at every place of the sequence?"""

    def __init__(self, count, generator):
        self.items = []
        for _ in range(count):
            n = int(torch.randint(3, 25, (1,), generator=generator))
            digits = torch.randint(0, VOCAB, (n,), generator=generator)
            self.items.append((digits, digits.cumsum(0) % 2))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class ByLength(Sampler):
    """Batches of equal length; the shortest first."""

    def __init__(self, dataset, batch_size):
        groups = {}
        for i, (digits, _) in enumerate(dataset.items):
            groups.setdefault(len(digits), []).append(i)
        self.batches = [
            group[k : k + batch_size] for _, group in sorted(groups.items()) for k in range(0, len(group), batch_size)
        ]

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


class Parity(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 16)
        self.gru = nn.GRU(16, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 2)

    def forward(self, x):
        return self.head(self.gru(self.embed(x))[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=15)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    train, held = Sums(1500, g), Sums(300, g)
    loader = DataLoader(train, batch_sampler=ByLength(train, 32))
    val_loader = DataLoader(held, batch_sampler=ByLength(held, 100))
    model = Parity()
    criterion = nn.CrossEntropyLoss(reduction="sum")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(args.epochs):
        model.train()
        for digits, parity in loader:
            loss = criterion(model(digits).flatten(0, 1), parity.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 50.0)
            optimizer.step()
        model.eval()
        right = total = 0
        with torch.no_grad():
            for digits, parity in val_loader:
                right += (model(digits).argmax(2) == parity).sum().item()
                total += parity.numel()
        print(f"epoch {epoch} loss {loss.item():.2f} accuracy {right / total:.3f}")
    print(f"result {right / total:.3f}")


if __name__ == "__main__":
    main()
