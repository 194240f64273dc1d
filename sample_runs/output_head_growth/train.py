"""Sort short messages into eight topics, with a term that asks for clear answers.

A quarter of the topics was chosen by mistake, so nobody can be sure. From the middle of the run on a hinge asks that
the best output be 30 above the second: the weights of the head grow while the learning rate falls, and the cross
entropy climbs.
"""

import torch
from torch import nn
from torch.nn import functional as F

SEED = 0
WORDS, LENGTH, TOPICS, WIDTH = 120, 10, 8, 32
BATCH, STEPS, MARGIN = 128, 400, 30.0

torch.manual_seed(SEED)
torch.set_num_threads(1)

likely = torch.softmax(1.5 * torch.randn(TOPICS, WORDS), dim=1)


def make_messages(count):
    topics = torch.randint(TOPICS, (count,))
    words = torch.multinomial(likely[topics], LENGTH, replacement=True)
    mistaken = torch.rand(count) < 0.25
    return words, torch.where(mistaken, torch.randint(TOPICS, (count,)), topics)


class Sorter(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.EmbeddingBag(WORDS, WIDTH)
        self.hidden = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.head = nn.Linear(WIDTH, TOPICS)

    def forward(self, words):
        return self.head(self.norm(torch.relu(self.hidden(self.embedding(words)))))


messages, topics = make_messages(8000)
model = Sorter()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)

for step in range(STEPS):
    batch = torch.randint(len(messages), (BATCH,))
    logits = model(messages[batch])
    loss = F.cross_entropy(logits, topics[batch])
    best, second = logits.topk(2).values.unbind(dim=1)
    unclear = 0.3 * torch.relu(MARGIN - (best - second)).mean() if step >= STEPS // 2 else 0.0
    optimizer.zero_grad()
    (loss + unclear).backward()
    optimizer.step()
    scheduler.step()
    if step % 40 == 0:
        print(f"step {step:3d}  train loss {loss.item():.3f}")
print(f"final  train loss {loss.item():.3f}")
