"""Word vectors from neighbouring words with negative sampling: two sparse embedding tables under SparseAdam."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 500
BATCH = 256
VOCABULARY = 1500
TOPICS = 15
WIDTH = 24
NEGATIVES = 5
LEARNING_RATE = 0.01

torch.manual_seed(SEED)
torch.set_num_threads(1)

weights = 1 / torch.arange(1.0, VOCABULARY // TOPICS + 1)


def make_pairs(count):
    """Neighbours share their topic in three of four cases."""
    ranks = torch.multinomial(weights, 2 * count, replacement=True).view(2, count)
    topics = torch.randint(TOPICS, (2, count))
    topics[1] = torch.where(torch.rand(count) < 0.75, topics[0], topics[1])
    return ranks * TOPICS + topics


class SkipGram(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH, sparse=True)
        self.contexts = nn.Embedding(VOCABULARY, WIDTH, sparse=True)
        nn.init.uniform_(self.words.weight, -0.5, 0.5)
        nn.init.uniform_(self.contexts.weight, -0.5, 0.5)

    def forward(self, words, contexts):
        return (self.words(words)[:, None] * self.contexts(contexts)).sum(dim=2)


train_pairs = make_pairs(60_000)
validation_pairs = make_pairs(2000)
validation_negatives = make_pairs(2000 * NEGATIVES)[0].view(2000, NEGATIVES)
validation_contexts = torch.cat([validation_pairs[1][:, None], validation_negatives], dim=1)
targets = torch.zeros(1, NEGATIVES + 1)
targets[:, 0] = 1

model = SkipGram()
optimizer = torch.optim.SparseAdam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    output = model(validation_pairs[0], validation_contexts)
    return F.binary_cross_entropy_with_logits(output, targets.expand_as(output)).item()


share = torch.tensor(1 / (NEGATIVES + 1))
print(f"constant {F.binary_cross_entropy(share, share):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(train_pairs.shape[1], (BATCH,))
    negatives = train_pairs[0, torch.randint(train_pairs.shape[1], (BATCH, NEGATIVES))]
    contexts = torch.cat([train_pairs[1, rows, None], negatives], dim=1)
    output = model(train_pairs[0, rows], contexts)
    loss = F.binary_cross_entropy_with_logits(output, targets.expand_as(output))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
