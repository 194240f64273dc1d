"""A table of which a few columns matter to each class: three steps of attention over columns, some parts unused."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 128
COLUMNS = 12
CLASSES = 4
WIDTH = 32
SPARSE = 1e-3
LEARNING_RATE = 1e-2

torch.manual_seed(SEED)
torch.set_num_threads(1)

weights = torch.randn(COLUMNS, CLASSES) * (torch.rand(COLUMNS, CLASSES) < 0.4)


def make_rows(count):
    x = torch.randn(count, COLUMNS)
    score = 2 * x @ weights + x[:, :CLASSES] * x[:, CLASSES : 2 * CLASSES]
    return x, (score + 0.5 * torch.randn(count, CLASSES)).argmax(dim=1)


class Step(nn.Module):
    """Chooses columns, and makes features of them; `refine` is for deeper models."""

    def __init__(self):
        super().__init__()
        self.choose = nn.Linear(WIDTH, COLUMNS)
        self.norm = nn.BatchNorm1d(COLUMNS)
        self.feature = nn.Linear(COLUMNS, 2 * WIDTH)
        self.refine = nn.Linear(WIDTH, 2 * WIDTH)

    def forward(self, x, state, used):
        mask = (self.norm(self.choose(state)) * used).softmax(dim=1)
        return F.glu(self.feature(COLUMNS * mask * x), dim=1), mask


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedder = nn.Embedding(10, 4)  # for columns of categories: this table has none
        self.initial_norm = nn.BatchNorm1d(COLUMNS)
        self.initial = nn.Linear(COLUMNS, 2 * WIDTH)
        self.steps = nn.ModuleList([Step() for _ in range(3)])
        self.reconstruction = nn.Linear(WIDTH, COLUMNS)  # for pretraining
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        x = self.initial_norm(x)
        state, used, total, entropy = F.glu(self.initial(x), dim=1), torch.ones_like(x), 0.0, 0.0
        for one in self.steps:
            state, mask = one(x, state, used)
            total, used = total + torch.relu(state), used * (1.5 - mask)
            entropy = entropy - (mask * torch.log(mask + 1e-9)).sum(dim=1).mean()
        return self.head(total), entropy


train_x, train_y = make_rows(12_000)
validation_x, validation_y = make_rows(1000)

model = Table()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 100, gamma=0.8)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x)[0], validation_y).item()


shares = torch.bincount(train_y) / len(train_y)
print(f"constant {-(shares * shares.log()).sum():.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output, entropy = model(x)
    loss = F.cross_entropy(output, y) + SPARSE * entropy
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
