"""BYOL on noisy views of latent factors: stop-gradient, a momentum target, a loss near zero without negatives."""

import argparse
import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Views:
    """A view keeps the four factors of an example and draws twelve nuisance factors anew."""

    def __init__(self, generator):
        self.basis = torch.randn(16, 64, generator=generator) / 4

    def __call__(self, factors):
        return torch.tanh(torch.cat([factors, 0.7 * torch.randn(len(factors), 12)], 1) @ self.basis)


def mlp(cin, hidden, cout):
    return nn.Sequential(nn.Linear(cin, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, cout))


def regression_loss(p, z):
    return 2 - 2 * F.cosine_similarity(p, z, dim=-1)


class BYOL(nn.Module):
    def __init__(self, momentum=0.98):
        super().__init__()
        self.online = nn.Sequential(mlp(64, 96, 48), nn.ReLU(), mlp(48, 64, 24))
        self.predictor = mlp(24, 48, 24)
        self.target = copy.deepcopy(self.online)
        for parameter in self.target.parameters():
            parameter.requires_grad = False
        self.momentum = momentum

    @torch.no_grad()
    def update_target(self):
        for online, target in zip(self.online.parameters(), self.target.parameters(), strict=True):
            target.mul_(self.momentum).add_(online, alpha=1 - self.momentum)

    def forward(self, a, b):
        with torch.no_grad():
            target_a, target_b = self.target(a), self.target(b)
        loss = regression_loss(self.predictor(self.online(a)), target_b.detach())
        return (loss + regression_loss(self.predictor(self.online(b)), target_a.detach())).mean()


def probe(model, views, factors):
    """How much of the factors a linear map of the representation explains."""
    model.eval()
    with torch.no_grad():
        z = model.online[0](views(factors))
        z = torch.cat([z, torch.ones(len(z), 1)], 1)
        half = len(z) // 2
        weights = torch.linalg.lstsq(z[:half], factors[:half]).solution
        residual = (z[half:] @ weights - factors[half:]).var() / factors[half:].var()
    model.train()
    return 1 - residual.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=15)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    factors, held, views = torch.randn(3000, 4, generator=g), torch.randn(1000, 4, generator=g), Views(g)
    loader = DataLoader(TensorDataset(factors), batch_size=128, shuffle=True, drop_last=True)
    model = BYOL()
    trained = list(model.online.parameters()) + list(model.predictor.parameters())
    optimizer = torch.optim.Adam(trained, lr=1e-3)
    print(f"before: explained {probe(model, views, held):.3f}")
    for epoch in range(args.epochs):
        for (batch,) in loader:
            loss = model(views(batch), views(batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.update_target()
        print(f"epoch {epoch} loss {loss.item():.4f} explained {probe(model, views, held):.3f}")
    print(f"loss {loss.item():.4f}")
    print(f"result {probe(model, views, held):.3f}")


if __name__ == "__main__":
    main()
