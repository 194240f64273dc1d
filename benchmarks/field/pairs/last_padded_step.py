"""Sentences of 4 to 40 words, padded on the right; the label is which of four names comes first."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
LENGTH, PAD = 40, 0


def sentences(count):
    words = torch.randint(5, 30, (count, LENGTH))
    names = torch.randint(1, 5, (count,))
    words[:, 0] = names
    lengths = torch.randint(4, LENGTH + 1, (count,))
    words[torch.arange(LENGTH) >= lengths[:, None]] = PAD
    return words, lengths, names - 1


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(30, 24, padding_idx=PAD)
        self.gru = nn.GRU(24, 32, batch_first=True)
        self.out = nn.Linear(32, 4)

    def forward(self, words, lengths):
        output, _ = self.gru(self.emb(words))
        last = output[torch.arange(len(words)), lengths - 1]
        return self.out(last)


train = DataLoader(TensorDataset(*sentences(1200)), 40, shuffle=True)
validation = DataLoader(TensorDataset(*sentences(400)), 100)
model = Classifier()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(6):
    model.train()
    for words, lengths, y in train:
        loss = F.cross_entropy(model(words, lengths), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = [(model(words, lengths).argmax(1) == y).float().mean().item() for words, lengths, y in validation]
    print(f"epoch {epoch} accuracy {sum(right) / len(right):.3f}")
print(f"result {sum(right) / len(right):.4f}")
