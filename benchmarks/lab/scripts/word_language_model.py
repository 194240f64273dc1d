"""Words of an artificial language with a vocabulary of 4,000: a multilayer perceptron over the last three words."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 128
VOCABULARY = 4000
TOPICS = 12
WIDTH = 64
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_text(length):
    """Words by zipf's law within a topic; the topic of a word tells that of the next."""
    weights = 1 / torch.arange(1.0, VOCABULARY // TOPICS + 1)
    word_in_topic = torch.multinomial(weights, length, replacement=True)
    stays, jumps = torch.rand(length) < 0.9, torch.randint(TOPICS, (length,))
    topics, topic = [], 0
    for stay, jump in zip(stays.tolist(), jumps.tolist(), strict=True):
        topic = topic if stay else jump
        topics.append(topic)
    return word_in_topic * TOPICS + torch.tensor(topics)


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 32)
        self.hidden = nn.Linear(3 * 32, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, words):
        x = self.embedding(words).flatten(1)
        x = torch.tanh(self.hidden(x))
        return self.head(x)


text = make_text(40_000)
windows = text.unfold(0, 4, 1)
train_windows, validation_windows = windows[:36_000], windows[37_000:38_000]

model = LanguageModel()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_windows[:, :3]), validation_windows[:, 3]).item()


shares = torch.bincount(text, minlength=VOCABULARY) / len(text)
print(f"constant {-torch.special.xlogy(shares, shares).sum():.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_windows), (BATCH,))
    x, y = train_windows[rows, :3], train_windows[rows, 3]
    output = model(x)
    loss = F.cross_entropy(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
