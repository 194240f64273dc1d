"""A transformer reads the log of a machine and says whether the alarm came before the restart."""

import math
import sys

import torch
from torch import nn
from torch.nn import functional as F

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
torch.manual_seed(seed)
LENGTH, KINDS, ALARM, RESTART = 24, 12, 10, 11


def logs(count):
    """Each log has one alarm and one restart among other events."""
    events = torch.randint(0, 10, (count, LENGTH))
    places = torch.rand(count, LENGTH).argsort(1)[:, :2]
    events.scatter_(1, places[:, :1], ALARM)
    events.scatter_(1, places[:, 1:], RESTART)
    return events, (places[:, 0] < places[:, 1]).long()


class PositionalEncoding(nn.Module):
    def __init__(self, width, longest=512):
        super().__init__()
        place = torch.arange(longest).unsqueeze(1)
        rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        table = torch.zeros(longest, 1, width)
        table[:, 0, 0::2] = torch.sin(place * rate)
        table[:, 0, 1::2] = torch.cos(place * rate)
        self.register_buffer("table", table)

    def forward(self, x):
        return x + self.table[: x.size(1)].transpose(0, 1)


class LogReader(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.embed = nn.Embedding(KINDS, width)
        self.position = PositionalEncoding(width)
        layer = nn.TransformerEncoderLayer(width, 4, 96, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, events):
        return self.head(self.encoder(self.position(self.embed(events))).mean(1))


events, answer = logs(4000)
held_events, held_answer = logs(1000)
model = LogReader()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for epoch in range(6):
    model.train()
    for rows in torch.randperm(len(events)).split(64):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(events[rows]), answer[rows])
        loss.backward()
        optimizer.step()
    model.eval()
    right = 0
    with torch.no_grad():
        for x, y in zip(held_events.split(100), held_answer.split(100), strict=True):
            right += (model(x).argmax(1) == y).sum().item()
    print(f"epoch {epoch} loss {loss.item():.3f} accuracy {right / 1000:.3f}")
print(f"result {right / 1000:.3f}")
