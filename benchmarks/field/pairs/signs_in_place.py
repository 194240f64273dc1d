"""Tell signs apart; each is flipped, moved and dimmed a little whenever it is read."""

import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
torch.manual_seed(seed)
np.random.seed(seed)
KINDS, SIZE = 8, 20
SHAPES = np.random.default_rng(5).random((KINDS, 9, 9)) < 0.4


def signs(count):
    labels = np.random.randint(0, KINDS, count)
    images = 0.25 * np.random.randn(count, SIZE, SIZE).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        row, column = np.random.randint(3, 9, 2)
        image[row : row + 9, column : column + 9] += SHAPES[label]
    return images, labels


class Signs(Dataset):
    def __init__(self, images, labels, augment):
        self.images, self.labels, self.augment = images, labels, augment

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index].copy()
        if self.augment:
            self.transform(image)
        return torch.from_numpy(image[None].copy()), int(self.labels[index])

    def transform(self, image):
        """Move by up to two pixels, dim or brighten, and blank a small square."""
        image[:] = np.roll(image, np.random.randint(-2, 3, 2), (0, 1))
        image *= np.float32(np.random.uniform(0.8, 1.15))
        row, column = np.random.randint(0, SIZE - 4, 2)
        image[row : row + 4, column : column + 4] = 0


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 25, 64), nn.ReLU(), nn.Linear(64, KINDS),
        )  # fmt: skip


train = DataLoader(Signs(*signs(800), augment=True), batch_size=32, shuffle=True)
validation = DataLoader(Signs(*signs(400), augment=False), batch_size=100)
model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(16):
    model.train()
    for image, label in train:
        loss = F.cross_entropy(model(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    held, right = 0.0, 0
    with torch.no_grad():
        for image, label in validation:
            logits = model(image)
            held += F.cross_entropy(logits, label).item() / len(validation)
            right += (logits.argmax(1) == label).sum().item()
    print(f"epoch {epoch} loss {loss.item():.3f} validation {held:.3f} accuracy {right / 400:.3f}")
print(f"result {right / 400:.4f}")
