"""Segment round cells and their nuclei in noisy microscopy images with a small U-Net."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Cells(Dataset):
    def __init__(self, count, size, seed):
        g = torch.Generator().manual_seed(seed)
        yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        self.masks = torch.zeros(count, size, size, dtype=torch.long)
        for i in range(count):
            for _ in range(int(torch.randint(1, 4, (1,), generator=g))):
                cy, cx = torch.randint(6, size - 6, (2,), generator=g)
                radius = torch.randint(4, 8, (1,), generator=g)
                distance = ((yy - cy) ** 2 + (xx - cx) ** 2).sqrt()
                self.masks[i][distance < radius] = 1
                self.masks[i][distance < radius / 2] = 2
        levels = torch.tensor([0.0, 0.6, 1.0])
        self.images = levels[self.masks] + 0.35 * torch.randn(count, size, size, generator=g)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i][None], self.masks[i]


def double_conv(cin, cout):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU(inplace=True),
        nn.Conv2d(cout, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU(inplace=True),
    )  # fmt: skip


class UNet(nn.Module):
    def __init__(self, classes, width=8):
        super().__init__()
        self.down1, self.down2 = double_conv(1, width), double_conv(width, 2 * width)
        self.bottom = double_conv(2 * width, 4 * width)
        self.up2, self.up1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.dec2, self.dec1 = double_conv(4 * width, 2 * width), double_conv(2 * width, width)
        self.out = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(nn.functional.max_pool2d(a, 2))
        x = self.bottom(nn.functional.max_pool2d(b, 2))
        x = self.dec2(torch.cat([self.up2(x), b], 1))
        x = self.dec1(torch.cat([self.up1(x), a], 1))
        return self.out(x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--classes", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)

    train_loader = DataLoader(Cells(320, 32, args.seed), batch_size=16, shuffle=True)
    val_loader = DataLoader(Cells(96, 32, args.seed + 1000), batch_size=32)
    model = UNet(args.classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(args.epochs):
        model.train()
        for image, mask in train_loader:
            optimizer.zero_grad()
            output = model(image)
            output = output.permute(0, 2, 3, 1).reshape(-1, args.classes)
            loss = criterion(output, mask.view(-1))
            loss.backward()
            optimizer.step()
        model.eval()
        hits = union = 0
        with torch.no_grad():
            for image, mask in val_loader:
                predicted = model(image).argmax(1)
                hits += ((predicted == mask) & (mask > 0)).sum().item()
                union += ((predicted > 0) | (mask > 0)).sum().item()
        print(f"epoch {epoch} loss {loss.item():.3f} val IoU {hits / union:.3f}")
    print(f"result {hits / union:.3f}")


if __name__ == "__main__":
    main()
