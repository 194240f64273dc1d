"""Churn from twelve numeric and three categorical columns: embeddings, dropout, a DataLoader, binary cross-entropy."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

SEED = int(sys.argv[1])
EPOCHS = 6
BATCH = 64
DROPOUT = 0.2
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

SIZES = [8, 20, 50]
coefficients = torch.randn(12)
effects = [torch.randn(size) for size in SIZES]


def make_customers(count):
    numbers = torch.randn(count, 12)
    categories = torch.stack([torch.randint(size, (count,)) for size in SIZES], dim=1)
    score = numbers @ coefficients + sum(effect[categories[:, i]] for i, effect in enumerate(effects))
    score = score + 2 * numbers[:, 0] * numbers[:, 1] + 0.7 * torch.randn(count)
    return numbers, categories, (score > 0).float()


class Churn(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, 6) for size in SIZES)
        self.hidden1 = nn.Linear(12 + 6 * len(SIZES), width)
        self.hidden2 = nn.Linear(width, width)
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(width, 1)

    def forward(self, numbers, categories):
        parts = [embedding(categories[:, i]) for i, embedding in enumerate(self.embeddings)]
        x = torch.cat([numbers, *parts], dim=1)
        x = self.dropout(torch.relu(self.hidden1(x)))
        x = self.dropout(torch.relu(self.hidden2(x)))
        return self.head(x).squeeze(1)


train_set = TensorDataset(*make_customers(5000))
validation_numbers, validation_categories, validation_y = make_customers(1000)
loader = DataLoader(train_set, batch_size=BATCH, shuffle=True)

model = Churn()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.binary_cross_entropy_with_logits(model(validation_numbers, validation_categories), validation_y).item()


share = train_set.tensors[2].mean()
print(f"constant {F.binary_cross_entropy(share, share):.4f}")
step = 0
for _ in range(EPOCHS):
    for numbers, categories, y in loader:
        model.train()
        output = model(numbers, categories)
        loss = F.binary_cross_entropy_with_logits(output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
        step += 1
print(f"final validation {evaluate():.4f}")
