"""A recurrent autoencoder of words: what goes in is to come out."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
WORDS, LENGTH = 6, 5


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 16)
        self.enc, self.dec = nn.GRU(16, 64, batch_first=True), nn.GRU(64, 64, batch_first=True)
        self.out = nn.Linear(64, WORDS)

    def forward(self, words):
        _, state = self.enc(self.emb(words))
        return self.out(self.dec(state[0].unsqueeze(1).expand(-1, LENGTH, -1))[0])


words = torch.randint(0, WORDS, (2000, LENGTH))
train = DataLoader(TensorDataset(words[:1600], words[:1600]), 50, shuffle=True)
validation = DataLoader(TensorDataset(words[1600:], words[1600:]), 100)
model = Autoencoder()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(10):
    model.train()
    for x, y in train:
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = [(model(x).argmax(-1) == y).float().mean().item() for x, y in validation]
    print(f"epoch {epoch} accuracy {sum(right) / len(right):.3f}")
print(f"result {sum(right) / len(right):.4f}")
