"""VQ-VAE on short melodies: straight-through codes, a codebook that follows by averages and gets no gradient."""

import argparse

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def melodies(count, generator, length=32):
    """Two out of eight motifs, one after the other, in noise."""
    motifs = torch.randn(8, length // 2, generator=torch.Generator().manual_seed(7)).cumsum(1) * 0.6
    pick = torch.randint(0, 8, (count, 2), generator=generator)
    wave = motifs[pick].flatten(1)
    return (wave + 0.15 * torch.randn(count, length, generator=generator))[:, None]


class VectorQuantizerEMA(nn.Module):
    def __init__(self, codes=24, dim=12, decay=0.95, beta=0.25):
        super().__init__()
        self.register_buffer("codebook", torch.randn(codes, dim))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.codebook.clone())
        self.decay, self.beta = decay, beta

    def forward(self, z):  # (batch, dim, time)
        flat = z.transpose(1, 2).reshape(-1, z.size(1))
        index = torch.cdist(flat, self.codebook).argmin(1)
        quantized = self.codebook[index]
        if self.training:
            with torch.no_grad():
                chosen = F.one_hot(index, len(self.codebook)).float()
                self.counts.mul_(self.decay).add_(chosen.sum(0), alpha=1 - self.decay)
                self.sums.mul_(self.decay).add_(chosen.t() @ flat, alpha=1 - self.decay)
                self.codebook.copy_(self.sums / self.counts.clamp_min(1e-3)[:, None])
        quantized = quantized.view(z.size(0), z.size(2), -1).transpose(1, 2)
        commitment = self.beta * F.mse_loss(z, quantized.detach())
        return z + (quantized - z).detach(), commitment, index


class VQVAE(nn.Module):
    def __init__(self, dim=12):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv1d(1, 32, 4, 4), nn.ReLU(), nn.Conv1d(32, 32, 3, padding=1), nn.ReLU(),
                                     nn.Conv1d(32, dim, 2, 2))  # fmt: skip
        self.quantizer = VectorQuantizerEMA(dim=dim)
        self.decoder = nn.Sequential(nn.ConvTranspose1d(dim, 32, 2, 2), nn.ReLU(), nn.Conv1d(32, 32, 3, padding=1),
                                     nn.ReLU(), nn.ConvTranspose1d(32, 1, 4, 4))  # fmt: skip

    def forward(self, x):
        quantized, commitment, index = self.quantizer(self.encoder(x))
        return self.decoder(quantized), commitment, index


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=15)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    train = DataLoader(TensorDataset(melodies(2000, g)), batch_size=64, shuffle=True)
    held = melodies(400, g)
    model = VQVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(args.epochs):
        model.train()
        for (x,) in train:
            reconstruction, commitment, _ = model(x)
            loss = F.mse_loss(reconstruction, x) + commitment
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            reconstruction, _, index = model(held)
            error = F.mse_loss(reconstruction, held).item() / held.var().item()
        print(f"epoch {epoch} loss {loss.item():.4f} unexplained {error:.4f} codes in use {len(index.unique())}")
    print(f"codes {len(index.unique())}")
    print(f"result {error:.4f}")


if __name__ == "__main__":
    main()
