"""What somebody does at every moment, from a sensor: a network for each frame, a conditional random field over them."""

import argparse

import torch
from torch import nn

KINDS, FRAMES, CHANNELS = 5, 40, 6


def days(count, centres, generator):
    """Activities last for some frames and follow each other in a fixed order, most of the time."""
    now = torch.randint(0, KINDS, (count,), generator=generator)
    labels = []
    for _ in range(FRAMES):
        change = torch.rand(count, generator=generator)
        jump = torch.randint(0, KINDS, (count,), generator=generator)
        now = torch.where(change < 0.02, jump, torch.where(change < 0.15, (now + 1) % KINDS, now))
        labels.append(now)
    labels = torch.stack(labels, 1)
    return centres[labels] + 1.1 * torch.randn(count, FRAMES, CHANNELS, generator=generator), labels


class CRF(nn.Module):
    """A score for every pair of neighbouring labels."""

    def __init__(self):
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(KINDS, KINDS))

    def forward(self, scores, labels):
        """The negative log-likelihood of the labels, by frame."""
        alpha = scores[:, 0]
        for frame in range(1, FRAMES):
            alpha = torch.logsumexp(alpha[:, :, None] + self.transitions, 1) + scores[:, frame]
        path = scores.gather(2, labels[..., None]).sum((1, 2))
        path = path + self.transitions[labels[:, :-1], labels[:, 1:]].sum(1)
        return (torch.logsumexp(alpha, 1) - path).mean() / FRAMES

    def decode(self, scores):
        """The most likely labels."""
        best, back = scores[:, 0], []
        for frame in range(1, FRAMES):
            best, before = (best[:, :, None] + self.transitions).max(1)
            best = best + scores[:, frame]
            back.append(before)
        path = [best.argmax(1)]
        for before in reversed(back):
            path.append(before.gather(1, path[-1][:, None]).squeeze(1))
        return torch.stack(path[::-1], 1)


class Tagger(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(CHANNELS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.fc = nn.Linear(width, KINDS)
        self.crf = CRF()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    g = torch.Generator().manual_seed(args.seed)
    centres = torch.randn(KINDS, CHANNELS, generator=g)
    x, y = days(800, centres, g)
    held_x, held_y = days(200, centres, g)
    model = Tagger()
    groups = [{"params": model.encoder.parameters(), "lr": 1e-3}]
    params = {"lr": 1e-2, "params": []}
    for name, parameter in model.named_parameters():
        if "crf" in name or name.startswith("fc"):
            params["params"].append(parameter)
    groups.append(params)
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
    for epoch in range(args.epochs):
        model.train()
        for rows in torch.randperm(len(x), generator=g).split(25):
            loss = model.crf(model.fc(model.encoder(x[rows])), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            scores = model.fc(model.encoder(held_x))
            held = model.crf(scores, held_y).item()
            accuracy = (model.crf.decode(scores) == held_y).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.3f} validation {held:.3f} accuracy {accuracy:.3f}")
    print(f"result {accuracy:.4f}")


if __name__ == "__main__":
    main()
