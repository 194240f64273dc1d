"""Prefix language model: the question is seen in both directions, the answer causally, only the answer is scored."""

import argparse

import torch
from torch import nn

DIGITS, PREFIX, ANSWER = 10, 6, 7
EQUALS, END = 10, 11


def batch(size):
    """Six digits, an equals sign, the digits sorted, the end."""
    digits = torch.randint(0, DIGITS, (size, PREFIX))
    equals, end = torch.full((size, 1), EQUALS), torch.full((size, 1), END)
    text = torch.cat([digits, equals, digits.sort(1).values, end], 1)
    inputs, targets = text[:, :-1], text[:, 1:].clone()
    targets[:, :PREFIX] = -100
    return inputs, targets


class PrefixLM(nn.Module):
    def __init__(self, width=48, length=PREFIX + ANSWER):
        super().__init__()
        self.embed, self.position = nn.Embedding(DIGITS + 2, width), nn.Parameter(0.1 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(width, 4, 96, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, DIGITS + 2)
        mask = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        mask[:, : PREFIX + 1] = False
        self.register_buffer("mask", mask)

    def forward(self, ids):
        return self.head(self.blocks(self.embed(ids) + self.position, mask=self.mask))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--steps", type=int, default=500)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = PrefixLM()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for step in range(args.steps):
        model.train()
        ids, targets = batch(64)
        loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            model.eval()
            with torch.no_grad():
                ids, _ = batch(200)
                truth = ids.clone()
                for i in range(PREFIX, PREFIX + ANSWER - 1):  # decode the answer, one digit at a time
                    ids[:, i + 1] = model(ids)[:, i].argmax(1)
                right = (ids == truth)[:, PREFIX + 1 :].float().mean().item()
            print(f"{step + 1} loss {loss.item():.3f} decoded {right:.3f}")
    print(f"result {right:.3f}")


if __name__ == "__main__":
    main()
