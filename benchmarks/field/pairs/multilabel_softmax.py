"""A bag of words with several topics at once: each topic has its own output."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
TOPICS, WORDS = 8, 60
speech = (2 * torch.randn(TOPICS, WORDS, generator=torch.Generator().manual_seed(1))).softmax(1)


def documents(count):
    """One to four topics, and thirty words of them."""
    topics = torch.zeros(count, TOPICS)
    for row in topics:
        row[torch.randperm(TOPICS)[: int(torch.randint(1, 5, (1,)))]] = 1
    words = torch.multinomial(topics @ speech, 30, replacement=True)
    return words, topics


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.EmbeddingBag(WORDS, 48)
        self.out = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, TOPICS))

    def forward(self, words):
        return torch.sigmoid(self.out(self.emb(words)))


train = DataLoader(TensorDataset(*documents(2000)), 50, shuffle=True)
validation = DataLoader(TensorDataset(*documents(400)), 100)
model = Bag()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(8):
    model.train()
    for words, topics in train:
        loss = F.binary_cross_entropy(model(words), topics)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    right = total = 0
    with torch.no_grad():
        for words, topics in validation:
            output = model(words)
            right += ((output > 0.5).float() == topics).sum().item()
            total += F.binary_cross_entropy(output, topics).item()
    print(f"epoch {epoch} validation {total / len(validation):.3f}")
print(f"result {right / (400 * TOPICS):.4f}")
