"""A transformer reads a padded list of words with a class token; the label is which word is there most often."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
LENGTH, PAD, CLASS = 16, 0, 1


def lists(count):
    """Words 2 to 5 after the class token, padded with at least one word."""
    y = torch.randint(0, 4, (count,))
    words = torch.where(torch.rand(count, LENGTH) < 0.4, y[:, None], torch.randint(0, 4, (count, LENGTH))) + 2
    words[:, 0] = CLASS
    words[torch.arange(LENGTH) >= torch.randint(8, LENGTH, (count,))[:, None]] = PAD
    return words, y


class Reader(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.emb = nn.Embedding(6, width)
        self.place = nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(width, 4)

    def forward(self, words):
        x = self.emb(words) + self.place.weight
        x = self.encoder(x, src_key_padding_mask=words == PAD)
        return self.out(x[:, 0])


train = DataLoader(TensorDataset(*lists(1600)), 40, shuffle=True)
validation = DataLoader(TensorDataset(*lists(400)), 100)
model = Reader()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for epoch in range(4):
    model.train()
    for words, y in train:
        loss = F.cross_entropy(model(words), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = [(model(words).argmax(1) == y).float().mean().item() for words, y in validation]
    print(f"epoch {epoch} accuracy {sum(right) / len(right):.3f}")
print(f"result {sum(right) / len(right):.4f}")
