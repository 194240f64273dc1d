"""A tagger that says at each word how many brackets are open."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
LENGTH = 20


def brackets(count):
    """Words 0 to 5, of which 1 opens and 2 closes; tags are the depth, at most 3."""
    words = torch.randint(0, 6, (count, LENGTH))
    depth, tags = torch.zeros(count, dtype=torch.long), []
    for word in words.unbind(1):
        depth = (depth + (word == 1).long() - (word == 2).long()).clamp(0, 3)
        tags.append(depth)
    return words, torch.stack(tags, 1)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(6, 16)
        self.lstm = nn.LSTM(16, 48, batch_first=True)
        self.out = nn.Linear(48, 4)

    def forward(self, words):
        return self.out(self.lstm(self.emb(words))[0])


train = DataLoader(TensorDataset(*brackets(1600)), 32, shuffle=True)
validation = DataLoader(TensorDataset(*brackets(320)), 32)
model = Tagger()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(8):
    model.train()
    for words, tags in train:
        loss = F.cross_entropy(model(words).flatten(0, 1), tags.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = [(model(words).argmax(-1) == tags).float().mean().item() for words, tags in validation]
    print(f"epoch {epoch} accuracy {sum(right) / len(right):.3f}")
print(f"result {sum(right) / len(right):.4f}")
