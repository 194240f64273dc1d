"""A small Vision Transformer that tells five textures apart, with attention dropout."""

import argparse

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def textures(count, generator, size=16):
    """Stripes of five directions and frequencies, at random phases, in noise."""
    labels = torch.randint(0, 5, (count,), generator=generator)
    waves = torch.tensor([[0.9, 0.0], [0.0, 0.9], [0.65, 0.65], [0.65, -0.65], [0.5, 0.2]])[labels]
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    phase = 6.28 * torch.rand(count, 1, 1, generator=generator)
    image = torch.sin(waves[:, :1, None] * x + waves[:, 1:, None] * y + phase)
    return (image + 1.5 * torch.randn(count, size, size, generator=generator))[:, None], labels


class Attention(nn.Module):
    def __init__(self, dim, heads=4, attn_drop=0.0):
        super().__init__()
        self.heads, self.attn_drop = heads, attn_drop
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop if self.training else 0.0)
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class ViT(nn.Module):
    def __init__(self, patch=4, dim=48, depth=3, classes=5, attn_drop=0.5):
        super().__init__()
        self.patch = nn.Conv2d(1, dim, patch, patch)
        self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, dim)), nn.Parameter(0.02 * torch.randn(1, 17, dim))
        self.attention = nn.ModuleList(Attention(dim, attn_drop=attn_drop) for _ in range(depth))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 96), nn.GELU(), nn.Linear(96, dim)) for _ in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes))

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        for norm, attention, mlp in zip(self.norms, self.attention, self.mlp, strict=True):
            x = x + attention(norm(x))
            x = x + mlp(x)
        return self.head(x[:, 0])


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    loss = right = 0.0
    for image, label in loader:
        logits = model(image)
        loss += F.cross_entropy(logits, label, reduction="sum").item()
        right += (logits.argmax(1) == label).sum().item()
    return loss / len(loader.dataset), right / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    train = DataLoader(TensorDataset(*textures(2500, g)), batch_size=64, shuffle=True)
    val = DataLoader(TensorDataset(*textures(800, g)), batch_size=200)
    model = ViT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    for epoch in range(args.epochs):
        model.train()
        for image, label in train:
            loss = F.cross_entropy(model(image), label)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        val_loss, val_acc = evaluate(model, val)
        print(f"epoch {epoch}: train loss {loss.item():.3f}, val loss {val_loss:.3f}, val acc {val_acc:.3f}")
    print(f"accuracy {val_acc:.3f}")
    print(f"result {val_loss:.3f}")


if __name__ == "__main__":
    main()
