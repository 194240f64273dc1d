"""Does a sound have what a word says? A tower of convolutions for the sound, an embedding for the word."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
MOTIFS, LENGTH = 8, 96
SHAPES = torch.randn(MOTIFS, 12, generator=torch.Generator().manual_seed(3))


def questions(count):
    """Two different motifs at random places in noise, and a question that is true half the time."""
    sound = 0.4 * torch.randn(count, 1, LENGTH)
    motifs = torch.rand(count, MOTIFS).argsort(1)[:, :2]
    for row, pair in zip(sound, motifs, strict=True):
        for part, motif in enumerate(pair):
            start = 48 * part + int(torch.randint(0, 36, (1,)))
            row[0, start : start + 12] += SHAPES[motif]
    true = torch.rand(count) < 0.5
    other = (motifs[:, 1] + 1 + torch.randint(0, MOTIFS - 1, (count,))) % MOTIFS
    word = torch.where(true, motifs[:, 0], other)
    return sound, word, (word[:, None] == motifs).any(1).float()


class SoundTower(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(1, width, 13, padding=6), nn.ReLU(), nn.Conv1d(width, width, 5, padding=2), nn.ReLU()
        )

    def forward(self, sound):
        return self.net(sound).amax(2)


class Model(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.tower, self.word = SoundTower(width), nn.Embedding(MOTIFS, width)
        self.head = nn.Sequential(nn.Linear(3 * width, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, sound, word):
        heard, asked = self.tower(sound), self.word(word)
        return self.head(torch.cat([heard, asked, heard * asked], 1)).squeeze(1)


train = DataLoader(TensorDataset(*questions(4000)), batch_size=64, shuffle=True)
validation = DataLoader(TensorDataset(*questions(600)), batch_size=200)
model = Model()
optimizer = torch.optim.Adam(
    [
        {"params": model.tower.parameters(), "lr": 2e-3},
        {"params": [*model.word.parameters(), *model.head.parameters()], "lr": 3e-3},
    ]
)
for epoch in range(10):
    model.train()
    for sound, word, answer in train:
        loss = F.binary_cross_entropy_with_logits(model(sound, word), answer)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    held, right = 0.0, 0
    with torch.no_grad():
        for sound, word, answer in validation:
            logits = model(sound, word)
            held += F.binary_cross_entropy_with_logits(logits, answer).item() / len(validation)
            right += ((logits > 0) == (answer > 0)).sum().item()
    print(f"epoch {epoch} loss {loss.item():.3f} validation {held:.3f} accuracy {right / 600:.3f}")
print(f"result {right / 600:.4f}")
