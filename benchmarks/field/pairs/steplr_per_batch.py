"""A recurrent network adds two marked numbers of a sequence; the rate halves every five epochs."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


def sums(count, length=12):
    numbers, marks = torch.rand(count, length), torch.zeros(count, length)
    marks.scatter_(1, torch.rand(count, length).topk(2).indices, 1.0)
    return torch.stack([numbers, marks], -1), (numbers * marks).sum(1)


class Adder(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 32, batch_first=True)
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        return self.out(self.gru(x)[0][:, -1]).squeeze(1)


train = DataLoader(TensorDataset(*sums(1600)), 40, shuffle=True)
validation = DataLoader(TensorDataset(*sums(400)), 100)
model = Adder()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)
for epoch in range(12):
    model.train()
    for x, y in train:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheduler.step()
    model.eval()
    with torch.no_grad():
        total = sum(F.mse_loss(model(x), y).item() for x, y in validation)
    print(f"epoch {epoch} validation {total / len(validation):.4f}")
print(f"result {total / len(validation):.4f}")
