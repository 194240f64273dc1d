"""Two workers load few images, each moved and covered at random."""

import sys

import numpy
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset, get_worker_info

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def images(count):
    """Ten blurred patterns of 10 x 10 pixels anywhere in 16 x 16, with noise."""
    patterns = F.interpolate(
        torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(1)), size=10, mode="bilinear"
    )
    x, y = 0.1 * torch.randn(count, 1, 16, 16), torch.randint(0, 10, (count,))
    for image, kind, (row, column) in zip(x, y.tolist(), torch.randint(0, 7, (count, 2)).tolist(), strict=True):
        image[:, row : row + 10, column : column + 10] += patterns[kind]
    return x, y


class Augmented(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y
        self.random = numpy.random.RandomState(0)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        row, column, at, to = self.random.randint(-5, 6, 4).tolist()
        x = self.x[i].roll((row, column), (1, 2)).clone()
        x[:, at + 6 : at + 9, to + 6 : to + 9] = 0
        return x, self.y[i]


def seed_worker(worker):
    dataset = get_worker_info().dataset
    dataset.random = numpy.random.RandomState(torch.initial_seed() % 2**32)


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


train = DataLoader(Augmented(*images(120)), 30, num_workers=2, worker_init_fn=seed_worker)
validation = DataLoader(TensorDataset(*images(400)), 100)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(512, 10),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(40):
    model.train()
    for x, y in train:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch} accuracy {accuracy(model, validation):.3f}")
print(f"result {accuracy(model, validation):.4f}")
