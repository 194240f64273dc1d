"""Translate digit strings into their reversed, shifted form with nn.Transformer; greedy decoding at the end."""

import argparse

import torch
from torch import nn

PAD, BOS, EOS, DIGITS, LENGTH = 0, 1, 2, 10, 7


def batch(size, generator):
    digits = torch.randint(0, DIGITS, (size, LENGTH), generator=generator)
    source = digits + 3
    target = (digits.flip(1) + torch.arange(LENGTH)) % DIGITS + 3
    bos, eos = torch.full((size, 1), BOS), torch.full((size, 1), EOS)
    return source, torch.cat([bos, target, eos], 1)


class Seq2Seq(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.embed = nn.Embedding(DIGITS + 3, width)
        self.position = nn.Parameter(0.1 * torch.randn(LENGTH + 2, width))
        self.transformer = nn.Transformer(width, 4, 1, 1, 96, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, DIGITS + 3)

    def forward(self, source, target):
        mask = nn.Transformer.generate_square_subsequent_mask(target.size(1))
        s = self.embed(source) + self.position[: source.size(1)]
        t = self.embed(target) + self.position[: target.size(1)]
        out = self.transformer(s, t, tgt_mask=mask, tgt_is_causal=True)
        return self.head(out)


@torch.no_grad()
def greedy(model, source):
    out = torch.full((len(source), 1), BOS)
    for _ in range(LENGTH + 1):
        out = torch.cat([out, model(source, out)[:, -1:].argmax(-1)], 1)
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--steps", type=int, default=900)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    model = Seq2Seq()
    criterion = nn.CrossEntropyLoss(ignore_index=PAD)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    held_source, held_target = batch(256, g)
    for step in range(args.steps):
        model.train()
        source, target = batch(64, g)
        logits = model(source, target[:, :-1])
        loss = criterion(logits.reshape(-1, logits.size(-1)), target[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 150 == 149:
            model.eval()
            with torch.no_grad():
                logits = model(held_source, held_target[:, :-1])
                val = criterion(logits.reshape(-1, logits.size(-1)), held_target[:, 1:].reshape(-1))
            print(f"step {step + 1} train {loss.item():.3f} val {val.item():.3f}")
    model.eval()
    right = (greedy(model, held_source)[:, 1:] == held_target[:, 1:]).float().mean().item()
    print(f"result {right:.3f}")


if __name__ == "__main__":
    main()
