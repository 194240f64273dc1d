"""SimSiam on noisy views of spectra, followed by a nearest neighbour test of the representation."""

import argparse

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

CLASSES = 12


class Spectra(Dataset):
    """Twelve substances of four lines each; an augmentation moves the base line, drops a band and adds noise."""

    def __init__(self, count, generator):
        fixed = torch.Generator().manual_seed(5)
        lines = 64 * torch.rand(CLASSES, 4, 1, generator=fixed)
        substances = torch.exp(-((torch.arange(64) - lines) ** 2) / 6).sum(1)
        self.labels = torch.randint(0, CLASSES, (count,), generator=generator)
        self.clean = substances[self.labels] * (0.5 + torch.rand(count, 1, generator=generator))

    def __len__(self):
        return len(self.clean)

    def augment(self, spectrum):
        out = spectrum + torch.linspace(-1, 1, 64) * torch.randn(1) + torch.randn(1) + 0.3 * torch.randn(64)
        start = int(torch.randint(0, 54, (1,)))
        out[start : start + 10] = 0
        return out

    def __getitem__(self, i):
        return self.augment(self.clean[i]), self.augment(self.clean[i]), self.labels[i]


class SimSiam(nn.Module):
    def __init__(self, width=128, out=64):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width))
        self.projector = nn.Sequential(nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, out))
        self.predictor = nn.Sequential(nn.Linear(out, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, out))

    def forward(self, x1, x2):
        z1, z2 = self.projector(self.backbone(x1)), self.projector(self.backbone(x2))
        return self.predictor(z1), self.predictor(z2), z1.detach(), z2.detach()


def neighbours(model, data):
    """Share of examples whose nearest neighbour is of the same substance."""
    model.eval()
    with torch.no_grad():
        views = torch.stack([data.augment(s) for s in data.clean])
        z = F.normalize(model.projector(model.backbone(views)), dim=1)
    similarity = z @ z.t()
    similarity.fill_diagonal_(-2)
    model.train()
    same = (data.labels[similarity.argmax(1)] == data.labels).float().mean().item()
    return same, z.std(0).mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    loader = DataLoader(Spectra(1500, g), batch_size=100, shuffle=True, drop_last=True)
    held = Spectra(400, g)
    model = SimSiam()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for epoch in range(args.epochs):
        for x1, x2, _ in loader:
            p1, p2, z1, z2 = model(x1, x2)
            loss = -(F.cosine_similarity(p1, z2).mean() + F.cosine_similarity(p2, z1).mean()) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        same, spread = neighbours(model, held)
        print(f"epoch {epoch} loss {loss.item():.4f} neighbours {same:.3f} spread {spread:.4f}")
    print(f"spread {spread:.4f}")
    print(f"result {same:.3f}")


if __name__ == "__main__":
    main()
