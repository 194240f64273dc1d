"""Guess the next word of simple sentences, with weight decay on everything that is a matrix.

The weight decay is 0.5 and the embedding is such a matrix. Most of its rows have no gradient at most steps, so decay
takes them down; the layer behind it is normalised, hides how small they are, and hands back an ever larger gradient.
"""

import torch
from torch import nn
from torch.nn import functional as F

SEED = 0
WORDS, CONTEXT, WIDTH = 300, 2, 24
BATCH, STEPS = 64, 400

torch.manual_seed(SEED)
torch.set_num_threads(1)

followers = torch.randint(WORDS, (WORDS, 3))
rare = torch.arange(1, WORDS + 1) ** -1.0


def make_sentences(count):
    """Each word has three followers; a sentence begins with any word, the frequent ones more often."""
    words = [torch.multinomial(rare, count, replacement=True)]
    for _ in range(CONTEXT):
        words.append(followers[words[-1], torch.randint(3, (count,))])
    return torch.stack(words, dim=1)


class NextWord(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.norm = nn.LayerNorm(CONTEXT * WIDTH)
        self.hidden = nn.Linear(CONTEXT * WIDTH, 64)
        self.head = nn.Linear(64, WORDS)

    def forward(self, words):
        return self.head(torch.relu(self.hidden(self.norm(self.embedding(words).flatten(1)))))


sentences = make_sentences(20_000)
model = NextWord()
matrices = [p for p in model.parameters() if p.ndim == 2]
vectors = [p for p in model.parameters() if p.ndim < 2]
groups = [{"params": matrices, "weight_decay": 0.5}, {"params": vectors, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=1e-2)

for step in range(STEPS):
    batch = sentences[torch.randint(len(sentences), (BATCH,))]
    loss = F.cross_entropy(model(batch[:, :-1]), batch[:, -1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 40 == 0:
        print(f"step {step:3d}  train loss {loss.item():.3f}")
print(f"final  train loss {loss.item():.3f}")
