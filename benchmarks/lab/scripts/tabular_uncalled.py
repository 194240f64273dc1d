"""Numbers and categories of a loan: a model made for more uses; this one calls neither its decoder nor its mask."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
WIDTH = 64
LEVELS = (4, 6, 10)
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

slopes, effects = torch.randn(8), [torch.randn(count) for count in LEVELS]


def make_loans(count):
    """Numbers, categories, and whether the loan was paid back: 3 of 4 are."""
    numbers = torch.randn(count, 8)
    categories = torch.stack([torch.randint(levels, (count,)) for levels in LEVELS], dim=1)
    score = numbers @ slopes + sum(effect[part] for effect, part in zip(effects, categories.T, strict=True))
    return numbers, categories, (score + numbers[:, 0] * numbers[:, 1] + torch.randn(count) > -2).float()


class Loans(nn.Module):
    """Registers what pretraining needs in front of what is used."""

    def __init__(self):
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(8))
        self.decoder = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 8))
        self.input_norm = nn.BatchNorm1d(8)
        self.levels = nn.ModuleList([nn.Embedding(count, 4) for count in LEVELS])
        self.projection = nn.Linear(WIDTH, 16)
        self.head = nn.Linear(WIDTH, 1)
        self.hidden = nn.Sequential(
            nn.Linear(8 + 4 * len(LEVELS), WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )

    def forward(self, numbers, categories):
        parts = [table(part) for table, part in zip(self.levels, categories.T, strict=True)]
        x = self.hidden(torch.cat([self.input_norm(numbers), *parts], dim=1))
        return self.head(x).squeeze(1)

    def pretrain(self, numbers, categories, hidden):
        x = self.decoder(self(torch.where(hidden, self.mask_token, numbers), categories))
        return F.mse_loss(x[hidden], numbers[hidden])


train_numbers, train_categories, train_y = make_loans(10_000)
validation_numbers, validation_categories, validation_y = make_loans(1000)

model = Loans()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.binary_cross_entropy_with_logits(model(validation_numbers, validation_categories), validation_y).item()


share = train_y.mean()
print(f"constant {F.binary_cross_entropy(share, share):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_y), (BATCH,))
    x, y = train_numbers[rows], train_y[rows]
    output = model(x, train_categories[rows])
    loss = F.binary_cross_entropy_with_logits(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
