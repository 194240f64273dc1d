"""What grows on fields, from aerial images: a small encoder and decoder; images and masks are scaled to one size."""

import argparse

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

KINDS, SIZE = 6, 24
COLOURS = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]])


def aerial(count, generator, size=40):
    """Narrow strips of crops in any direction; a crop is known by its colour."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    angle = 3.1416 * torch.rand(count, 1, 1, generator=generator)
    across = x * angle.cos() + y * angle.sin() + 100
    strip = (across / (5 + 3 * torch.rand(count, 1, 1, generator=generator))).long()
    crops = torch.randint(0, KINDS, (count, 60), generator=generator)
    mask = crops.gather(1, strip.flatten(1) % 60).view(count, size, size)
    image = COLOURS[mask].permute(0, 3, 1, 2)
    return image + 0.3 * torch.randn(count, 3, size, size, generator=generator), mask


class Tiles(Dataset):
    """Images and masks of the size that the network wants."""

    def __init__(self, images, masks):
        self.images, self.masks = images, masks

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = F.interpolate(self.images[index, None], (SIZE, SIZE), mode="bilinear")
        mask = F.interpolate(self.masks[index, None, None].float(), (SIZE, SIZE), mode="nearest")
        return image[0], mask[0, 0].long()


class Net(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.deep = nn.Sequential(
            nn.MaxPool2d(2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
        )
        self.out = nn.Conv2d(2 * width, KINDS, 3, padding=1)

    def forward(self, x):
        x = self.down(x)
        return self.out(torch.cat([x, self.deep(x)], 1))


@torch.no_grad()
def overlap(model, images, masks):
    """The mean over the crops of intersection by union, against masks that nothing has blurred."""
    model.eval()
    small = F.interpolate(images, (SIZE, SIZE), mode="bilinear")
    true = F.interpolate(masks[:, None].float(), (SIZE, SIZE), mode="nearest")[:, 0].long()
    found = torch.cat([model(part).argmax(1) for part in small.split(50)])
    both = [((found == k) & (true == k)).sum() / ((found == k) | (true == k)).sum() for k in range(KINDS)]
    return torch.stack(both).mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    g = torch.Generator().manual_seed(args.seed)
    train = DataLoader(Tiles(*aerial(500, g)), batch_size=20, shuffle=True)
    validation = DataLoader(Tiles(*aerial(100, g)), batch_size=50)
    test = aerial(150, g)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(args.epochs):
        model.train()
        for image, mask in train:
            loss = F.cross_entropy(model(image), mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            held = sum(F.cross_entropy(model(image), mask).item() for image, mask in validation) / len(validation)
        print(f"epoch {epoch} loss {loss.item():.3f} validation {held:.3f} overlap {overlap(model, *test):.3f}")
    print(f"result {overlap(model, *test):.4f}")


if __name__ == "__main__":
    main()
