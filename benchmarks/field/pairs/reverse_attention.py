"""Turn strings around: a GRU encoder-decoder with additive attention reverses words of ten letters."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F

LETTERS, LENGTH = 20, 10


def words(count):
    x = torch.randint(0, LETTERS, (count, LENGTH))
    return x, x.flip(1)


class BahdanauAttention(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.Wa, self.Ua, self.Va = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 1)

    def forward(self, query, keys):  # (batch, 1, hidden), (batch, time, hidden)
        scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys)))  # (batch, time, 1)
        weights = F.softmax(scores, dim=1)
        return (weights * keys).sum(1, keepdim=True)


class Seq2Seq(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.embed_in, self.embed_out = nn.Embedding(LETTERS, 24), nn.Embedding(LETTERS + 1, 24)
        self.position = nn.Parameter(0.1 * torch.randn(LENGTH, 24))
        self.encoder = nn.GRU(24, hidden, batch_first=True)
        self.attention = BahdanauAttention(hidden)
        self.decoder = nn.GRU(24 + hidden, hidden, batch_first=True)
        self.out = nn.Linear(2 * hidden, LETTERS)

    def forward(self, x, y=None):
        keys, state = self.encoder(self.embed_in(x) + self.position)
        token, logits = torch.full((len(x), 1), LETTERS), []
        for i in range(LENGTH):
            context = self.attention(state.transpose(0, 1), keys)
            step, state = self.decoder(torch.cat([self.embed_out(token), context], 2), state)
            logits.append(self.out(torch.cat([step, context], 2)))
            token = y[:, i : i + 1] if y is not None else logits[-1].argmax(2)
        return torch.cat(logits, 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = Seq2Seq()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    held_x, held_y = words(300)
    for step in range(args.steps):
        model.train()
        x, y = words(64)
        loss = F.cross_entropy(model(x, y).reshape(-1, LETTERS), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 100 == 0:
            model.eval()
            with torch.no_grad():
                letters = (model(held_x).argmax(2) == held_y).float().mean().item()
            print(f"{step + 1}: loss {loss.item():.3f} letters {letters:.3f}")
    print(f"loss {loss.item():.3f}")
    print(f"result {letters:.3f}")


if __name__ == "__main__":
    main()
