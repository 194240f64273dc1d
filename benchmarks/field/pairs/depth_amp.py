"""Depth from two views: a convolutional network in mixed precision with a GradScaler and clipped gradients."""

import argparse

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class StereoPairs(Dataset):
    """A random row texture and the same texture shifted by the depth, which varies slowly."""

    def __init__(self, count, seed, width=48):
        g = torch.Generator().manual_seed(seed)
        texture = torch.randn(count, 1, width + 8, generator=g)
        knots = torch.rand(count, 1, 5, generator=g) * 4
        self.depth = F.interpolate(knots, width, mode="linear", align_corners=True)
        place = torch.arange(width) + self.depth
        low = place.floor().long()
        weight = place - low
        right = (1 - weight) * texture.gather(2, low) + weight * texture.gather(2, low + 1)
        self.pair = torch.cat([texture[..., :width], right], 1)

    def __len__(self):
        return len(self.pair)

    def __getitem__(self, i):
        return self.pair[i], self.depth[i]


class DepthNet(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(2, width, 11, padding=5), nn.ReLU(),
            nn.Conv1d(width, width, 7, padding=3), nn.ReLU(),
            nn.Conv1d(width, width, 7, padding=3), nn.ReLU(),
            nn.Conv1d(width, 1, 5, padding=2),
        )  # fmt: skip

    def forward(self, x):
        return self.body(x)


def train_one_epoch(model, loader, optimizer, grad_scaler, clip):
    model.train()
    total = 0.0
    for pair, depth in loader:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predicted = model(pair)
            loss = F.smooth_l1_loss(predicted.float(), depth)
        optimizer.zero_grad(set_to_none=True)
        grad_scaler.scale(loss).backward()
        grad_scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        grad_scaler.step(optimizer)
        grad_scaler.update()
        total += loss.item()
    return total / len(loader)


@torch.inference_mode()
def evaluate(model, loader):
    model.eval()
    error = sum((model(pair) - depth).abs().mean().item() for pair, depth in loader)
    return error / len(loader)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--clip", type=float, default=1.0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    train = DataLoader(StereoPairs(1600, args.seed), batch_size=32, shuffle=True)
    val = DataLoader(StereoPairs(320, args.seed + 77), batch_size=80)
    model = DepthNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-6)
    grad_scaler = torch.amp.GradScaler("cpu")
    for epoch in range(args.epochs):
        loss = train_one_epoch(model, train, optimizer, grad_scaler, args.clip)
        error = evaluate(model, val)
        print(f"epoch {epoch}: train {loss:.4f}, val error {error:.4f}, scale {grad_scaler.get_scale():.0f}")
    print(f"result {error:.4f}")


if __name__ == "__main__":
    main()
