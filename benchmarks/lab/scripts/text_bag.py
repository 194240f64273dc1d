"""Topics of short documents: an EmbeddingBag and a linear layer, Adagrad."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
CLASSES = 6
VOCABULARY = 2000
LENGTH = 20
WIDTH = 32
LEARNING_RATE = 0.05

torch.manual_seed(SEED)
torch.set_num_threads(1)

leanings = 2.0 * torch.randn(CLASSES, VOCABULARY) - torch.arange(1.0, VOCABULARY + 1).log()


def make_documents(count):
    labels = torch.randint(CLASSES, (count,))
    words = torch.multinomial(leanings.softmax(dim=1)[labels], LENGTH, replacement=True)
    return words, torch.where(torch.rand(count) < 0.05, torch.randint(CLASSES, (count,)), labels)


train_x, train_y = make_documents(6000)
validation_x, validation_y = make_documents(1000)


model = nn.Sequential(
    nn.EmbeddingBag(VOCABULARY, WIDTH),
    nn.Linear(WIDTH, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, CLASSES),
)
optimizer = torch.optim.Adagrad(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x), validation_y).item()


print(f"constant {torch.log(torch.tensor(CLASSES)):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x)
    loss = F.cross_entropy(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
