"""Read the digits of a meter from a strip of pixels: convolutions over the columns, and CTC."""

import argparse

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

CHARS = "0123456789"
INDEX = {char: number + 1 for number, char in enumerate(CHARS)}  # 0 is the blank of CTC


def strips(count, shapes, generator):
    """Three digits of three columns each, at varying distances, in noise."""
    images = 0.25 * torch.randn(count, 12, 18, generator=generator)
    texts = []
    for image in images:
        digits = torch.randint(0, 10, (3,), generator=generator)
        place = int(torch.randint(0, 3, (1,), generator=generator))
        for digit in digits:
            image[:, place : place + 3] += shapes[digit]
            place += 4 + int(torch.randint(0, 3, (1,), generator=generator))
        texts.append("".join(str(digit.item()) for digit in digits))
    return images, texts


def encode(texts):
    return torch.tensor([[INDEX[char] for char in text] for text in texts])


def decode(path):
    """The most likely symbol of every column, without repetitions and blanks."""
    path = torch.unique_consecutive(path).tolist()
    names = {number: char for char, number in INDEX.items()}
    return "".join(names[number] for number in path if number != 0)


class Reader(nn.Module):
    def __init__(self, symbols):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(12, 64, 5, padding=2), nn.ReLU(), nn.Conv1d(64, 64, 3, padding=1), nn.ReLU()
        )
        self.out = nn.Conv1d(64, symbols, 1)

    def forward(self, image):
        return F.log_softmax(self.out(self.conv(image)), 1).transpose(1, 2)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    g = torch.Generator().manual_seed(args.seed)
    shapes = (torch.rand(10, 12, 3, generator=g) < 0.4).float()
    images, texts = strips(2000, shapes, g)
    held_images, held_texts = strips(400, shapes, g)
    loader = DataLoader(TensorDataset(images, encode(texts)), batch_size=50, shuffle=True)
    model, ctc = Reader(len(CHARS) + 1), nn.CTCLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for epoch in range(args.epochs):
        model.train()
        for image, text in loader:
            log_probs = model(image).transpose(0, 1)
            frames = torch.full((len(image),), len(log_probs))
            loss = ctc(log_probs, text, frames, torch.full((len(image),), 3))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            read = [decode(path) for path in model(held_images).argmax(-1)]
        right = sum(one == two for one, two in zip(read, held_texts, strict=True)) / len(read)
        print(f"epoch {epoch} loss {loss.item():.3f} right {right:.3f}")
    print(f"result {right:.4f}")


if __name__ == "__main__":
    main()
