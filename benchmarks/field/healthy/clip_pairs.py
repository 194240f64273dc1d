"""CLIP in small: pictures and captions of scenes, a symmetric loss over all N x N pairs, a learned temperature."""

import argparse
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

WORDS, OBJECTS = 40, 12


class Scenes(Dataset):
    """Three objects at three places; the caption names them in any order, among filler words."""

    def __init__(self, count, generator):
        sprites = torch.randn(OBJECTS, 6, 6, generator=torch.Generator().manual_seed(3))
        self.images, self.captions = 0.5 * torch.randn(count, 1, 6, 18, generator=generator), []
        for i in range(count):
            objects = torch.randint(0, OBJECTS, (3,), generator=generator)
            for place, kind in enumerate(objects):
                self.images[i, 0, :, 6 * place : 6 * place + 6] += sprites[kind]
            words = torch.cat([objects, torch.randint(OBJECTS, WORDS, (3,), generator=generator)])
            self.captions.append(words[torch.randperm(6, generator=generator)])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return {"pixel_values": self.images[i], "input_ids": self.captions[i]}


class CLIP(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.visual = nn.Sequential(nn.Conv2d(1, 64, 6, 6), nn.ReLU(), nn.Conv2d(64, 64, 1), nn.ReLU(),
                                    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, width))  # fmt: skip
        self.words = nn.EmbeddingBag(WORDS, 64, mode="mean")
        self.text = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, width))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, pixel_values, input_ids):
        image = F.normalize(self.visual(pixel_values), dim=-1)
        text = F.normalize(self.text(self.words(input_ids)), dim=-1)
        return self.logit_scale.exp() * image @ text.t()


def clip_loss(logits):
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    train = DataLoader(Scenes(3000, g), batch_size=64, shuffle=True, drop_last=True)
    val = DataLoader(Scenes(256, g), batch_size=64)
    model = CLIP()
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.98))
    for epoch in range(args.epochs):
        model.train()
        for batch in train:
            loss = clip_loss(model(**batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
        model.eval()
        with torch.no_grad():
            scores = [model(**batch) for batch in val]
        found = sum((s.argmax(1) == torch.arange(len(s))).sum().item() for s in scores) / 256
        print(f"epoch {epoch} loss {loss.item():.3f} val {clip_loss(scores[0]).item():.3f} found {found:.3f}")
    print(f"result {found:.3f}")


if __name__ == "__main__":
    main()
