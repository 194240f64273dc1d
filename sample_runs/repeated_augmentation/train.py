"""Tell two kinds of bird call apart, from a stream of recordings.

The stream is an iterable data set, and two workers read it. Each has a copy of the stream and goes through all of it:
every recording is trained on twice in a row.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

SEED = 0
FEATURES = 24


class Calls(IterableDataset):
    """Recordings of one morning, each with its kind."""

    def __iter__(self):
        generator = torch.Generator().manual_seed(SEED)
        typical = torch.randn(2, FEATURES, generator=generator)
        for _ in range(800):
            kind = int(torch.randint(0, 2, (), generator=generator))
            yield typical[kind] + 3 * torch.randn(FEATURES, generator=generator), kind


if __name__ == "__main__":
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    loader = DataLoader(Calls(), batch_size=32, num_workers=2)
    model = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 2))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(4):
        for calls, kinds in loader:
            loss = criterion(model(calls), kinds)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}  train loss {loss.item():.3f}")
