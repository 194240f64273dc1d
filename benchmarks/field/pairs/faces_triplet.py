"""Re-identify made-up faces: triplet loss with the hardest examples of each batch."""

import argparse

import torch
import torch.nn.functional as F
from torch import nn

PEOPLE, FACTORS, PIXELS = 60, 12, 96


class Faces:
    """A face is a mix of twelve latent factors; pose and light change it as much as identity does."""

    def __init__(self, generator):
        self.generator = generator
        self.identity = 0.6 * torch.randn(PEOPLE, FACTORS, generator=generator)
        self.basis = torch.randn(2 * FACTORS, PIXELS, generator=generator) / FACTORS**0.5

    def draw(self, people, shots):
        who = torch.as_tensor(people).repeat_interleave(shots)
        nuisance = 1.5 * torch.randn(len(who), FACTORS, generator=self.generator)
        latent = torch.cat([self.identity[who], nuisance], 1)
        return torch.tanh(latent @ self.basis) + 0.05 * torch.randn(len(who), PIXELS, generator=self.generator), who


class EmbeddingNet(nn.Module):
    def __init__(self, width=256, embedding=32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(PIXELS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, embedding)
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


def batch_hard_triplet_loss(embeddings, labels, margin):
    distance = torch.cdist(embeddings, embeddings)
    same = labels[:, None] == labels[None]
    hardest_positive = distance.masked_fill(~same, 0).max(1).values
    hardest_negative = distance.masked_fill(same, float("inf")).min(1).values
    return F.relu(hardest_positive - hardest_negative + margin).mean()


@torch.no_grad()
def recall_at_one(model, faces, people):
    model.eval()
    x, who = faces.draw(people, 6)
    e = model(x)
    distance = torch.cdist(e, e)
    distance.fill_diagonal_(float("inf"))
    model.train()
    return (who[distance.argmin(1)] == who).float().mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--margin", type=float, default=0.5)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    faces = Faces(torch.Generator().manual_seed(args.seed))
    model = EmbeddingNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for step in range(args.steps):
        people = torch.randperm(40)[:16]
        x, who = faces.draw(people, 4)
        loss = batch_hard_triplet_loss(model(x), who, args.margin)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(f"{step + 1} loss {loss.item():.4f} recall {recall_at_one(model, faces, range(40, 60)):.3f}")
    print(f"loss {loss.item():.4f}")
    print(f"result {recall_at_one(model, faces, range(40, 60)):.3f}")


if __name__ == "__main__":
    main()
