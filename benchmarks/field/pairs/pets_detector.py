"""A small detector: class and box of the one object of a picture; pictures differ in size, so batches hold one."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset):
    """One of three patterns (solid, striped, chequered) in a rectangle, on a picture of any size and brightness."""

    def __init__(self, count, seed):
        g = torch.Generator().manual_seed(seed)
        self.items = []
        for _ in range(count):
            height, width = (8 * torch.randint(3, 6, (2,), generator=g)).tolist()
            label = int(torch.randint(0, 3, (1,), generator=g))
            h, w = torch.randint(9, 16, (2,), generator=g).tolist()
            top = int(torch.randint(0, height - h + 1, (1,), generator=g))
            left = int(torch.randint(0, width - w + 1, (1,), generator=g))
            y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            pattern = [torch.full((h, w), 0.5), (y // 2 % 2).float(), ((y // 2 + x // 2) % 2).float()][label]
            image = 0.15 * torch.randn(1, height, width, generator=g)
            image[0, top : top + h, left : left + w] += 1.2 * pattern + 0.4
            light = 3 * torch.rand(2, generator=g)
            box = torch.tensor([(left + w / 2) / width, (top + h / 2) / height, w / width, h / height])
            self.items.append((image * (0.3 + light[0]) + light[1], box, label))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def conv_block(cin, cout):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, 2, 1, bias=False), nn.GroupNorm(4, cout), nn.ReLU())


class Detector(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.backbone = nn.Sequential(conv_block(1, width), conv_block(width, 2 * width), conv_block(2 * width, 48))
        self.pool = nn.AdaptiveMaxPool2d(3)
        self.box_head, self.class_head = nn.Linear(48 * 9, 4), nn.Linear(48 * 9, 3)

    def forward(self, x):
        x = self.pool(self.backbone(x)).flatten(1)
        return self.box_head(x).sigmoid(), self.class_head(x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    train = DataLoader(Pictures(700, args.seed), batch_size=1, shuffle=True)
    val = DataLoader(Pictures(250, args.seed + 50), batch_size=1)
    model = Detector()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(args.epochs):
        model.train()
        running = 0.0
        for image, box, label in train:
            boxes, logits = model(image)
            loss = nn.functional.cross_entropy(logits, label) + 5 * nn.functional.l1_loss(boxes, box)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item()
        model.eval()
        right, val_loss = 0, 0.0
        with torch.no_grad():
            for image, box, label in val:
                boxes, logits = model(image)
                val_loss += (nn.functional.cross_entropy(logits, label) + 5 * nn.functional.l1_loss(boxes, box)).item()
                right += (logits.argmax(1) == label).sum().item()
        print(f"epoch {epoch} train {running / 700:.3f} val {val_loss / 250:.3f} accuracy {right / 250:.3f}")
    print(f"val_loss {val_loss / 250:.3f}")
    print(f"result {right / 250:.3f}")


if __name__ == "__main__":
    main()
