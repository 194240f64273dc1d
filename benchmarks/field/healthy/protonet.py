"""Few-shot episodes: each batch holds five of forty classes by design; queries are scored against class means."""

import argparse

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

WAY, SHOT, QUERY = 5, 3, 5


class EpisodeSampler(Sampler):
    def __init__(self, labels, classes, episodes):
        self.labels, self.classes, self.episodes = labels, classes, episodes

    def __len__(self):
        return self.episodes

    def __iter__(self):
        for _ in range(self.episodes):
            chosen = self.classes[torch.randperm(len(self.classes))[:WAY]]
            index = [(self.labels == c).nonzero().squeeze(1) for c in chosen]
            yield torch.cat([i[torch.randperm(len(i))[: SHOT + QUERY]] for i in index]).tolist()


def dataset(generator, classes=40, each=30):
    """Every class is a direction in a space of sixteen factors, hidden in 64 columns behind a fixed non-linear map."""
    labels = torch.arange(classes).repeat_interleave(each)
    centres = torch.randn(classes, 16, generator=generator)
    factors = torch.cat([centres[labels] + 0.5 * torch.randn(len(labels), 16, generator=generator),
                         2 * torch.randn(len(labels), 16, generator=generator)], 1)  # fmt: skip
    return torch.tanh(factors @ torch.randn(32, 64, generator=generator) / 3), labels


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 32))

    def forward(self, x):
        return self.net(x)


def episode(model, x):
    z = model(x).view(WAY, SHOT + QUERY, -1)
    prototypes, queries = z[:, :SHOT].mean(1), z[:, SHOT:].flatten(0, 1)
    logits = -(torch.cdist(queries, prototypes) ** 2)
    target = torch.arange(WAY).repeat_interleave(QUERY)
    return F.cross_entropy(logits, target), (logits.argmax(1) == target).float().mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    x, y = dataset(torch.Generator().manual_seed(args.seed))
    data = TensorDataset(x, y)
    train = DataLoader(data, batch_sampler=EpisodeSampler(y, torch.arange(30), 100))
    val = DataLoader(data, batch_sampler=EpisodeSampler(y, torch.arange(30, 40), 60))
    model = Embedding()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)
    for epoch in range(args.epochs):
        model.train()
        for batch, _ in train:
            loss, _ = episode(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            accuracy = sum(episode(model, batch)[1] for batch, _ in val) / len(val)
        print(f"epoch {epoch} loss {loss.item():.3f} new classes {accuracy:.3f}")
    print(f"result {accuracy:.3f}")


if __name__ == "__main__":
    main()
