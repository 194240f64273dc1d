"""Find the rare calls of whales in short recordings: spectrogram, convolutions, a sampler that balances the classes."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
RATE, SECONDS = 1000, 1.0


def recordings(count, share):
    """Noise of the sea; a share of the recordings holds a call whose pitch rises."""
    labels = (torch.rand(count) < share).long()
    time = torch.arange(int(RATE * SECONDS)) / RATE
    start = 60 + 60 * torch.rand(count, 1)
    call = torch.sin(6.2832 * (start * time + 60 * time**2)) * torch.exp(-((time - 0.5) ** 2) / 0.05)
    loud = 0.5 + 0.5 * torch.rand(count, 1)
    return labels[:, None] * loud * call + torch.randn(count, len(time)), labels


def spectrogram(sound):
    power = torch.stft(sound, 128, 64, window=torch.hann_window(128), return_complex=True).abs() ** 2
    return torch.log(power + 1e-3)[:, None, :32]


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveMaxPool2d(4),
        )  # fmt: skip
        self.head = nn.Linear(24 * 16, 2)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


sound, labels = recordings(1200, 0.08)
train_set = TensorDataset(spectrogram(sound), labels)
class_weights = 1.0 / torch.bincount(labels, minlength=2)
sampler = WeightedRandomSampler(class_weights[labels], num_samples=len(train_set))
train = DataLoader(train_set, batch_size=32, sampler=sampler)
sound, labels = recordings(600, 0.5)
validation = DataLoader(TensorDataset(spectrogram(sound), labels), batch_size=100)
model = Detector()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(6):
    model.train()
    for x, y in train:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(x) for x, _ in validation])
    held = F.cross_entropy(logits, labels).item()
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    print(f"epoch {epoch} loss {loss.item():.3f} validation {held:.3f} accuracy {accuracy:.3f}")
print(f"result {accuracy:.4f}")
