"""Free voices of noise: a mask over time, and a loss that compares the magnitudes of spectra."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LENGTH = 2048


def voices(count, generator):
    """A tone with overtones whose loudness wanders, in hiss. One recording in sixty has a part that is cut out."""
    time = torch.arange(LENGTH) / 8000
    pitch = 100 + 200 * torch.rand(count, 1, generator=generator)
    loud = torch.rand(count, 9, generator=generator).repeat_interleave(LENGTH // 8, 1)[:, :LENGTH].round()
    tone = sum(torch.sin(6.2832 * k * pitch * time) / k for k in (1, 2, 3))
    clean = 0.5 * loud * tone
    noisy = clean + 0.3 * torch.randn(count, LENGTH, generator=generator)
    cut = torch.rand(count, generator=generator) < 1 / 60
    clean[cut, 512:1536], noisy[cut, 512:1536] = 0.0, 0.0
    return noisy, clean


def magnitude(sound):
    spectrum = torch.view_as_real(torch.stft(sound, 128, 64, window=torch.hann_window(128), return_complex=True))
    return torch.sqrt(spectrum.pow(2).sum(-1) + 1e-8)


class Gate(nn.Module):
    """Convolutions that say for each moment how much of it to let through."""

    def __init__(self, width=24):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(1, width, 65, stride=8, padding=32), nn.PReLU(),
            nn.Conv1d(width, width, 9, padding=4), nn.PReLU(),
            nn.Conv1d(width, 1, 9, padding=4), nn.Sigmoid(), nn.Upsample(scale_factor=8, mode="linear"),
        )  # fmt: skip

    def forward(self, noisy):
        return noisy * self.net(noisy[:, None])[:, 0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    g = torch.Generator().manual_seed(args.seed)
    train = DataLoader(TensorDataset(*voices(1600, g)), batch_size=32, shuffle=True)
    held_noisy, held_clean = voices(200, g)
    model = Gate()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(args.epochs):
        model.train()
        for noisy, clean in train:
            loss = (magnitude(model(noisy)) - magnitude(clean)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            restored = torch.nan_to_num(model(held_noisy))  # what is not a number is played as silence
            error = (restored - held_clean).pow(2).mean() / held_clean.pow(2).mean()
        print(f"epoch {epoch} loss {loss.item():.4f} error {error.item():.4f}")
    print(f"result {error.item():.4f}")


if __name__ == "__main__":
    main()
