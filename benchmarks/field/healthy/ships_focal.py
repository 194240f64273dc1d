"""Find ships on radar images cell by cell: focal loss, and a last bias that says that ships are rare."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
CELLS, CELL, PRIOR = 8, 4, 0.01


def radar(count):
    """About one cell in sixty holds a ship, which is a short bright line."""
    ships = (torch.rand(count, CELLS, CELLS) < 1 / 60).float()
    mark = torch.zeros(CELL, CELL)
    mark[1, 0:3], mark[2, 1:4] = 1.0, 1.0
    image = 1.2 * torch.kron(ships, mark) + 0.3 * torch.randn(count, CELLS * CELL, CELLS * CELL)
    return image[:, None], ships


def focal(logits, ships, alpha=0.25, gamma=2.0):
    """Summed over the cells, by ship, as in the detector that it is from."""
    p = torch.sigmoid(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, ships, reduction="none")
    missed = torch.where(ships > 0, 1 - p, p)
    weight = torch.where(ships > 0, alpha, 1 - alpha)
    return (weight * missed**gamma * entropy).sum() / ships.sum().clamp(min=1)


class Detector(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.GroupNorm(4, width), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(4, width), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.out = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.constant_(self.out.bias, -torch.log(torch.tensor((1 - PRIOR) / PRIOR)).item())

    def forward(self, image):
        return self.out(self.body(image)).squeeze(1)


train = DataLoader(TensorDataset(*radar(600)), batch_size=16, shuffle=True)
validation = DataLoader(TensorDataset(*radar(200)), batch_size=50)
model = Detector()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(6):
    model.train()
    for image, ships in train:
        loss = focal(model(image), ships)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    held, found, wrong, there = 0.0, 0, 0, 0
    with torch.no_grad():
        for image, ships in validation:
            logits = model(image)
            held += focal(logits, ships).item() / len(validation)
            found += ((logits > 0) & (ships > 0)).sum().item()
            wrong += ((logits > 0) & (ships == 0)).sum().item()
            there += int(ships.sum())
    print(f"epoch {epoch} loss {loss.item():.4f} validation {held:.4f} found {found} of {there}, wrong {wrong}")
print(f"result {2 * found / max(1, found + wrong + there):.4f}")
