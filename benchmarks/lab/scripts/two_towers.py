"""Which of two items a user took: two embedding tables with towers on top, pairwise logistic loss (BPR), AdamW."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 500
BATCH = 256
USERS = 200
ITEMS = 300
WIDTH = 16
LEARNING_RATE = 1e-2

torch.manual_seed(SEED)
torch.set_num_threads(1)

user_tastes, item_tastes = torch.randn(USERS, 3), torch.randn(ITEMS, 3)
popularity = 1 / torch.arange(1.0, ITEMS + 1) ** 0.7


def make_choices(count):
    """User, taken item and refused item of each choice."""
    users = torch.randint(USERS, (count,))
    items = torch.multinomial(popularity, 2 * count, replacement=True).view(count, 2)
    score = (user_tastes[users, None] * item_tastes[items]).sum(dim=2) + 0.5 * torch.randn(count, 2)
    return users, items.gather(1, score.argsort(dim=1, descending=True))


class TwoTowers(nn.Module):
    def __init__(self):
        super().__init__()
        self.users = nn.Embedding(USERS, WIDTH)
        self.items = nn.Embedding(ITEMS, WIDTH)
        nn.init.normal_(self.users.weight, std=0.3)
        nn.init.normal_(self.items.weight, std=0.3)
        self.user_tower = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, WIDTH))
        self.item_tower = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, WIDTH))

    def forward(self, users, items):
        user, item = self.user_tower(self.users(users)), self.item_tower(self.items(items))
        return (user[:, None] * item).sum(dim=2)


train_users, train_items = make_choices(40_000)
validation_users, validation_items = make_choices(2000)

model = TwoTowers()
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    score = model(validation_users, validation_items)
    return -F.logsigmoid(score[:, 0] - score[:, 1]).mean().item()


print(f"constant {torch.log(torch.tensor(2)):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_users), (BATCH,))
    score = model(train_users[rows], train_items[rows])
    loss = -F.logsigmoid(score[:, 0] - score[:, 1]).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
