"""Will a user click an item: attention between the fields of an impression, and a linear layer on top."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
FIELDS, VALUES = 6, 8  # three fields of the user, then three of the item


def impressions(count):
    """A click is likely where the taste of the user is the genre of the item, or their languages agree."""
    fields = torch.randint(0, VALUES, (count, FIELDS))
    agree = (fields[:, 0] == fields[:, 3]) | (fields[:, 1] % 2 == fields[:, 4] % 2) & (fields[:, 2] < 6)
    clicked = torch.rand(count) < torch.where(agree, 0.9, 0.1)
    return fields, clicked.float()


class Attention(nn.Module):
    """Multi-head attention over the fields, with a residual connection."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.depth = heads, width // heads
        self.query, self.key, self.value, self.skip = (nn.Linear(width, width, bias=False) for _ in range(4))

    def split(self, x):
        return x.view(x.size(0), -1, self.heads, self.depth).transpose(1, 2).flatten(0, 1)

    def join(self, x, batch):
        return x.unflatten(0, (batch, self.heads)).transpose(1, 2).flatten(2)

    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        weights = (q @ k.transpose(1, 2) / self.depth**0.5).softmax(-1)
        return F.relu(self.join(weights @ v, x.size(0)) + self.skip(x))


class ClickModel(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.embedding = nn.Embedding(FIELDS * VALUES, width)
        self.attention = nn.Sequential(Attention(width, 2), Attention(width, 2))
        self.out = nn.Linear(FIELDS * width, 1)

    def forward(self, fields):
        x = self.embedding(fields + VALUES * torch.arange(FIELDS))
        return self.out(self.attention(x).flatten(1)).squeeze(1)


train = DataLoader(TensorDataset(*impressions(8000)), 128, shuffle=True)
validation = DataLoader(TensorDataset(*impressions(2000)), 500)
model = ClickModel()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(8):
    model.train()
    for fields, clicked in train:
        loss = F.binary_cross_entropy_with_logits(model(fields), clicked)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        losses = [F.binary_cross_entropy_with_logits(model(x), y).item() for x, y in validation]
    print(f"epoch {epoch} train {loss.item():.3f} validation {sum(losses) / len(losses):.3f}")
print(f"result {sum(losses) / len(losses):.4f}")
