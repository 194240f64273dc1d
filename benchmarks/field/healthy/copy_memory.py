"""The copy task: an LSTM repeats ten symbols after a pause, so that targets are inputs, moved by a delay."""

import argparse

import torch
from torch import nn

SYMBOLS, LENGTH, PAUSE = 8, 5, 3
BLANK, GO = SYMBOLS, SYMBOLS + 1


def batch(size):
    symbols = torch.randint(0, SYMBOLS, (size, LENGTH))
    blank = torch.full((size, PAUSE), BLANK)
    x = torch.cat([symbols, blank, torch.full((size, 1), GO), torch.full((size, LENGTH - 1), BLANK)], 1)
    y = torch.cat([torch.full((size, LENGTH + PAUSE), BLANK), symbols], 1)
    return x, y


class Copier(nn.Module):
    def __init__(self, hidden=96):
        super().__init__()
        self.embed = nn.Embedding(SYMBOLS + 2, 16)
        self.lstm = nn.LSTM(16, hidden, batch_first=True)
        self.head = nn.Linear(hidden, SYMBOLS + 1)

    def forward(self, x):
        return self.head(self.lstm(self.embed(x))[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--steps", type=int, default=1600)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = Copier()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=3e-3)
    for step in range(args.steps):
        x, y = batch(64)
        loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 200 == 0:
            model.eval()
            with torch.no_grad():
                x, y = batch(300)
                right = (model(x).argmax(2) == y)[:, -LENGTH:].float().mean().item()
            model.train()
            print(f"{step + 1} loss {loss.item():.3f} recalled {right:.3f}")
    print(f"loss {loss.item():.3f}")
    print(f"result {right:.3f}")


if __name__ == "__main__":
    main()
