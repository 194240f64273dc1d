"""Find a document of the same subject: bags of words on the unit sphere, triplets with the hardest stranger."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 300
BATCH = 64
WORDS = 400
LENGTH = 12
SUBJECTS = 40
WIDTH = 32
MARGIN = 0.3
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

# A subject has words of its own; of the others each is used now and then.
habits = 0.4 * torch.ones(SUBJECTS, WORDS)
habits[torch.arange(SUBJECTS)[:, None], torch.randint(WORDS, (SUBJECTS, 15))] = 15.0


def make_documents(count):
    subject = torch.randint(SUBJECTS, (count,))
    return torch.multinomial(habits[subject], LENGTH, replacement=True), subject


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.EmbeddingBag(WORDS, WIDTH, mode="mean")
        self.hidden = nn.Linear(WIDTH, 64)
        self.head = nn.Linear(64, WIDTH)
        nn.init.normal_(self.words.weight, std=0.5)

    def forward(self, x):
        return F.normalize(self.head(torch.relu(self.hidden(self.words(x)))), dim=1)


train_x, train_y = make_documents(6000)
validation_x, validation_y = make_documents(500)

model = Encoder()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


def triplets(place, subject):
    """Each document, the farthest of its subject, and the nearest of another one."""
    away = torch.cdist(place, place)
    same = subject[:, None] == subject
    friend = away.masked_fill(~same, -1).argmax(dim=1)
    stranger = away.masked_fill(same, 9).argmin(dim=1)
    return place, place[friend], place[stranger]


@torch.no_grad()
def evaluate():
    """The share of documents whose nearest neighbour has another subject."""
    model.eval()
    place = model(validation_x)
    away = torch.cdist(place, place) + 9 * torch.eye(len(place))
    return (validation_y[away.argmin(dim=1)] != validation_y).float().mean().item()


print(f"constant {1 - 1 / SUBJECTS:.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x)
    loss = F.triplet_margin_loss(*triplets(output, y), margin=MARGIN)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
