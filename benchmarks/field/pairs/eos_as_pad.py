"""A language model answers with as many words as it is asked for, and ends with a stop word."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
EOS, PAD, MOST, LENGTH = 9, 10, 6, 8


def texts(count):
    """A number from 1 to 6, then that word as often, the stop word, and padding."""
    number = torch.randint(1, MOST + 1, (count, 1))
    place = torch.arange(LENGTH)
    words = torch.where(place <= number, number, PAD)
    return torch.where(place == number + 1, EOS, words)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(11, 24)
        self.gru = nn.GRU(24, 64, batch_first=True)
        self.out = nn.Linear(64, 11)

    def forward(self, words):
        return self.out(self.gru(self.emb(words))[0])


def loss_of(model, words):
    labels = words[:, 1:].clone()
    labels[labels == PAD] = -100
    return F.cross_entropy(model(words[:, :-1]).flatten(0, 1), labels.flatten())


train = DataLoader(TensorDataset(texts(1600)), 32, shuffle=True)
validation = DataLoader(TensorDataset(texts(320)), 80)
model = Model()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(5):
    model.train()
    for (words,) in train:
        loss = loss_of(model, words)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        total = sum(loss_of(model, words).item() for (words,) in validation)
    print(f"epoch {epoch} validation {total / len(validation):.3f}")
right = 0
for number in range(1, MOST + 1):
    answer = [number]
    with torch.no_grad():
        while answer[-1] != EOS and len(answer) < 12:
            answer.append(model(torch.tensor([answer]))[0, -1].argmax().item())
    right += answer == [number] * (number + 1) + [EOS]
print(f"result {right / MOST:.4f}")
