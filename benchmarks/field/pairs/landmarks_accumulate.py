"""Find the corner of a shape in an image by a heat map; eight small batches make a step."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SIZE, ACCUMULATE = 20, 8


def corners(count, generator):
    """Two bars that meet in a corner, over a background with a gradient."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    corner = 4 + (SIZE - 8) * torch.rand(count, 2, generator=generator)
    row, column = corner[:, 0, None, None], corner[:, 1, None, None]
    across = ((y - row).abs() < 1) & (x > column - 0.5)
    down = ((x - column).abs() < 1) & (y > row - 0.5)
    image = (across | down).float() + 0.3 * torch.randn(count, SIZE, SIZE, generator=generator)
    image = image + 0.02 * x * torch.randn(count, 1, 1, generator=generator)
    return image[:, None], corner / SIZE


class HeatMap(nn.Module):
    """The corner is the mean place under a softmax over the image."""

    def __init__(self, width=16):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 5, padding=2), nn.ELU(), nn.Conv2d(width, width, 5, padding=2), nn.ELU(),
            nn.Conv2d(width, 1, 3, padding=1),
        )  # fmt: skip
        self.register_buffer("place", (torch.arange(SIZE) + 0.5) / SIZE)

    def forward(self, image):
        heat = self.net(image).flatten(1).softmax(1).view(-1, SIZE, SIZE)
        return torch.stack([heat.sum(2) @ self.place, heat.sum(1) @ self.place], 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=0.5)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    g = torch.Generator().manual_seed(args.seed)
    train = DataLoader(TensorDataset(*corners(3200, g)), batch_size=8, shuffle=True)
    validation = DataLoader(TensorDataset(*corners(400, g)), batch_size=100)
    model, criterion = HeatMap(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    for epoch in range(args.epochs):
        model.train()
        for index, (image, corner) in enumerate(train):
            loss = criterion(model(image), corner) * 20
            (loss / ACCUMULATE).backward()
            if (index + 1) % ACCUMULATE == 0:
                optimizer.step()
                optimizer.zero_grad()
        model.eval()
        held, away = 0.0, 0.0
        with torch.no_grad():
            for image, corner in validation:
                found = model(image)
                held += criterion(found, corner).item() * 20 / len(validation)
                away += (found - corner).norm(dim=1).mean().item() * SIZE / len(validation)
        print(f"epoch {epoch} loss {loss.item():.4f} validation {held:.4f} pixels {away:.2f}")
    print(f"result {away:.4f}")


if __name__ == "__main__":
    main()
