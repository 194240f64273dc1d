"""Word2vec-like embeddings by a bag of context words, trained through a function that is called once an epoch."""

import argparse

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

VOCAB, WINDOW = 120, 6


def corpus(count, generator):
    """Words of eight topics; the middle word is of the topic that most of its context is of."""
    topic = torch.randint(0, 8, (count, 1), generator=generator)
    own = torch.rand(count, WINDOW + 1, generator=generator) < 0.6
    own[:, 0] = True
    topics = torch.where(own, topic, torch.randint(0, 8, (count, WINDOW + 1), generator=generator))
    rank = (torch.rand(count, WINDOW + 1, generator=generator) ** 2 * 15).long()
    words = topics * 15 + rank
    return words[:, 1:], words[:, 0]


class CBOW(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.embeddings = nn.Embedding(VOCAB, dim)
        self.hidden = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.linear = nn.Linear(64, VOCAB)

    def forward(self, context):
        return self.linear(self.hidden(self.embeddings(context).sum(1)))


def train_step(model, criterion, optimizer, context, word):
    optimizer.zero_grad()
    loss = criterion(model(context), word)
    loss.backward()
    optimizer.step()
    return loss.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=0.02)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    loader = DataLoader(TensorDataset(*corpus(6000, g)), batch_size=64, shuffle=True)
    val_x, val_y = corpus(1500, g)
    model, criterion = CBOW(), nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=args.lr, momentum=0.95, nesterov=True)
    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        for context, word in loader:
            total += train_step(model, criterion, optimizer, context, word)
        for group in optimizer.param_groups:
            group["lr"] *= 0.9
        model.eval()
        with torch.no_grad():
            logits = model(val_x)
            val = criterion(logits, val_y).item()
            topic = (logits.argmax(1) // 15 == val_y // 15).float().mean().item()
        print(f"epoch {epoch} train {total / len(loader):.3f} val {val:.3f} topic found {topic:.3f}")
    print(f"topic {topic:.3f}")
    print(f"result {val:.3f}")


if __name__ == "__main__":
    main()
