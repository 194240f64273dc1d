"""DPO: a policy is tuned on preferences against a frozen reference that shares its weights at the start."""

import argparse
import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

VOCAB, LENGTH = 12, 10


class Policy(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.embed = nn.Embedding(VOCAB + 1, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(width, VOCAB)

    def forward(self, tokens):
        start = torch.full((len(tokens), 1), VOCAB)
        out, _ = self.gru(self.embed(torch.cat([start, tokens[:, :-1]], 1)))
        return self.head(self.drop(out))

    def log_prob(self, tokens):
        return self(tokens).log_softmax(-1).gather(2, tokens[..., None]).squeeze(-1).sum(1)


@torch.no_grad()
def sample(model, count):
    model.eval()
    tokens = torch.zeros(count, LENGTH, dtype=torch.long)
    for i in range(LENGTH):
        tokens[:, i] = torch.multinomial(model(tokens)[:, i].softmax(-1), 1).squeeze(1)
    return tokens


def taste(tokens):
    """People like rising pairs."""
    return (tokens[:, 1:] > tokens[:, :-1]).float().mean(1)


def pretrain(model, steps):
    """A random walk over the letters."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        steps_taken = torch.randint(-2, 3, (64, LENGTH))
        text = (torch.randint(0, VOCAB, (64, 1)) + steps_taken.cumsum(1)) % VOCAB
        loss = F.cross_entropy(model(text).flatten(0, 1), text.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    policy = Policy()
    print(f"language model loss {pretrain(policy, 300):.3f}")
    reference = copy.deepcopy(policy).eval().requires_grad_(False)
    before = taste(sample(policy, 500)).mean().item()
    a, b = sample(reference, 2000), sample(reference, 2000)
    better = (taste(a) + 0.1 * torch.randn(2000) > taste(b) + 0.1 * torch.randn(2000))[:, None]
    chosen, rejected = torch.where(better, a, b), torch.where(better, b, a)
    loader = DataLoader(TensorDataset(chosen, rejected), batch_size=32, shuffle=True)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-4)
    for epoch in range(args.epochs):
        policy.train()
        for yes, no in loader:
            with torch.no_grad():
                reference_margin = reference.log_prob(yes) - reference.log_prob(no)
            margin = policy.log_prob(yes) - policy.log_prob(no)
            loss = -F.logsigmoid(args.beta * (margin - reference_margin)).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.3f} taste {taste(sample(policy, 500)).mean().item():.3f}")
    print(f"taste_before {before:.3f}")
    print(f"result {taste(sample(policy, 1000)).mean().item():.3f}")


if __name__ == "__main__":
    main()
