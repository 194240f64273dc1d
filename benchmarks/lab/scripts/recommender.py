"""Stars that users gave to items, whose popularity follows zipf's law: matrix factorisation with a small network."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 500
BATCH = 256
USERS = 400
ITEMS = 1000
WIDTH = 16
LEARNING_RATE = 5e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

user_tastes, item_tastes = torch.randn(USERS, 4), torch.randn(ITEMS, 4)
popularity = 1 / torch.arange(1.0, ITEMS + 1)


def make_ratings(count):
    users = torch.randint(USERS, (count,))
    items = torch.multinomial(popularity, count, replacement=True)
    stars = (user_tastes[users] * item_tastes[items]).sum(dim=1) / 2
    return users, items, stars + 0.3 * torch.randn(count)


class Recommender(nn.Module):
    def __init__(self):
        super().__init__()
        self.users = nn.Embedding(USERS, WIDTH)
        self.items = nn.Embedding(ITEMS, WIDTH)
        self.hidden = nn.Linear(3 * WIDTH, 32)
        self.head = nn.Linear(32, 1)
        nn.init.normal_(self.users.weight, std=0.3)
        nn.init.normal_(self.items.weight, std=0.3)

    def forward(self, users, items):
        user, item = self.users(users), self.items(items)
        x = torch.cat([user, item, user * item], dim=1)
        return self.head(torch.relu(self.hidden(x))).squeeze(1)


train_users, train_items, train_stars = make_ratings(40_000)
validation_users, validation_items, validation_stars = make_ratings(2000)

model = Recommender()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.mse_loss(model(validation_users, validation_items), validation_stars).item()


print(f"constant {train_stars.var():.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_users), (BATCH,))
    users, items, stars = train_users[rows], train_items[rows], train_stars[rows]
    output = model(users, items)
    loss = F.mse_loss(output, stars)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
