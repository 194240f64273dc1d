"""Eight kinds of examples, each with its own rule: a top-1 mixture of experts with a balancing term, Adam."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 128
EXPERTS = 6
WIDTH = 32
BALANCE = 0.02
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

kinds = torch.randn(8, 16)
rules = torch.randn(8, 16, 4)


def make_examples(count):
    kind = torch.randint(8, (count,))
    x = 1.5 * kinds[kind] + torch.randn(count, 16)
    score = torch.einsum("bi,bij->bj", x, rules[kind])
    return x, (score + torch.randn(count, 4)).argmax(dim=1)


class MixtureOfExperts(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(16, WIDTH)
        self.router = nn.Linear(WIDTH, EXPERTS)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)) for _ in range(EXPERTS)
        )
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        shares = self.router(x).softmax(dim=1)
        weight, chosen = shares.max(dim=1)
        mixed = torch.zeros_like(x)
        for index, expert in enumerate(self.experts):
            rows = (chosen == index).nonzero().squeeze(1)
            if len(rows):
                mixed = mixed.index_add(0, rows, weight[rows, None] * expert(x[rows]))
        load = torch.bincount(chosen, minlength=EXPERTS) / len(x)
        return self.head(x + mixed), EXPERTS * (load * shares.mean(dim=0)).sum()


train_x, train_y = make_examples(10_000)
validation_x, validation_y = make_examples(1000)

model = MixtureOfExperts()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x)[0], validation_y).item()


print(f"constant {torch.log(torch.tensor(4)):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output, balance = model(x)
    loss = F.cross_entropy(output, y) + BALANCE * balance
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
