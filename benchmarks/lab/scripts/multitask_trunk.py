"""Three answers about one measurement, a class, an amount and a yes or no: a shared trunk and a weighted sum."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
WIDTH = 64
CLASSES = 6
DROPOUT = 0.1
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

hidden = torch.randn(16, 8) / 2
kinds, amounts, signs = torch.randn(8, CLASSES), torch.randn(8), torch.randn(8)


def make_measurements(count):
    x = torch.randn(count, 16)
    state = torch.tanh(x @ hidden)
    kind = (2 * state @ kinds + 0.5 * torch.randn(count, CLASSES)).argmax(dim=1)
    amount = state @ amounts + 0.2 * torch.randn(count)
    present = (state @ signs + 0.3 * torch.randn(count) > 0).float()
    return x, kind, (amount - amount.mean()) / amount.std(), present


class Tasks(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(16, WIDTH), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.kind = nn.Linear(WIDTH, CLASSES)
        self.amount = nn.Linear(WIDTH, 1)
        self.present = nn.Linear(WIDTH, 1)

    def forward(self, x):
        x = self.trunk(x)
        return self.kind(x), self.amount(x).squeeze(1), self.present(x).squeeze(1)


train_x, train_kind, train_amount, train_present = make_measurements(6000)
validation_x, *validation_y = make_measurements(1000)

model = Tasks()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


def objective(outputs, kind, amount, present):
    loss_kind = F.cross_entropy(outputs[0], kind)
    loss_amount = F.mse_loss(outputs[1], amount)
    loss_present = F.binary_cross_entropy_with_logits(outputs[2], present)
    return loss_kind + 0.5 * loss_amount + loss_present


@torch.no_grad()
def evaluate():
    model.eval()
    return objective(model(validation_x), *validation_y).item()


shares = torch.bincount(train_kind) / len(train_kind)
share = train_present.mean()
alone = -(shares * shares.log()).sum() + 0.5 + F.binary_cross_entropy(share, share)
print(f"constant {alone:.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], (train_kind[rows], train_amount[rows], train_present[rows])
    outputs = model(x)
    loss = objective(outputs, *y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
