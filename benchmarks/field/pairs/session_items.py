"""Recommend the next item of a shop from the items of a session, which are padded to one length and summed."""

import argparse

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

ITEMS, LONGEST, PAD = 120, 20, 0


def sessions(count, aisle, generator):
    """A shopper has a mix of two aisles in mind, and takes two to twenty items of them; half of all are short."""
    aisles = torch.rand(count, int(aisle.max()) + 1, generator=generator).argsort(1)[:, :2]
    length = 2 + (18 * torch.rand(count, generator=generator) ** 2).long()
    wanted = (aisle == aisles[:, :1]) * 3.0 + (aisle == aisles[:, 1:]) + 0.01
    wanted[:, PAD] = 0.0
    drawn = torch.multinomial(wanted, LONGEST + 1, replacement=True, generator=generator)
    items = torch.where(torch.arange(LONGEST) < length[:, None], drawn[:, :LONGEST], PAD)
    return items, drawn[:, LONGEST]


def initialise(module):
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.5)
        if module.padding_idx is not None:
            nn.init.zeros_(module.weight.data[module.padding_idx])
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)


class NextItem(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.items = nn.Embedding(ITEMS, width, padding_idx=PAD)
        self.tower = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
        self.apply(initialise)

    def forward(self, session):
        taste = self.tower(self.items(session).sum(1) / 4)
        return taste @ self.items.weight.T


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    g = torch.Generator().manual_seed(args.seed)
    aisle = torch.randint(0, 12, (ITEMS,), generator=g)
    train = DataLoader(TensorDataset(*sessions(4000, aisle, g)), batch_size=64, shuffle=True)
    validation = DataLoader(TensorDataset(*sessions(1000, aisle, g)), batch_size=250)
    model = NextItem()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(args.epochs):
        model.train()
        for session, item in train:
            loss = F.cross_entropy(model(session), item)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        held, hits = 0.0, 0
        with torch.no_grad():
            for session, item in validation:
                score = model(session)
                held += F.cross_entropy(score, item).item() / len(validation)
                hits += (score.topk(10).indices == item[:, None]).any(1).sum().item()
        print(f"epoch {epoch} loss {loss.item():.3f} validation {held:.3f} hits {hits / 1000:.3f}")
    print(f"result {hits / 1000:.3f}")


if __name__ == "__main__":
    main()
