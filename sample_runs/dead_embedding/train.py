"""Tell from its first ten words what a support message is about.

The embedding is wrong: its lookup is wrapped in `torch.no_grad()`, so no gradient ever reaches the table. The loss
falls all the same, because the layers on top learn to live with random word vectors.
"""

import torch
from torch import nn

SEED = 0
TOPICS = 5
VOCABULARY = 120
LENGTH = 10
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_messages(count):
    """Word ids; a third of the words come from the 16 words of the topic, the rest from the whole vocabulary."""
    topics = torch.randint(TOPICS, (count,))
    words = torch.randint(VOCABULARY, (count, LENGTH))
    topical = 16 * topics[:, None] + torch.randint(16, (count, LENGTH))
    return torch.where(torch.rand(count, LENGTH) < 0.33, topical, words), topics


class TopicClassifier(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 32)
        self.conv = nn.Conv1d(32, width, 3, padding=1)
        self.fc = nn.Linear(width, width)
        self.output = nn.Linear(width, TOPICS)

    def forward(self, words):
        with torch.no_grad():
            x = self.embedding(words)
        x = torch.relu(self.conv(x.transpose(1, 2))).mean(dim=2)
        return self.output(torch.relu(self.fc(x)))


@torch.no_grad()
def evaluate(model, words, topics):
    model.eval()
    loss = criterion(model(words), topics)
    model.train()
    return loss.item()


train_words, train_topics = make_messages(8000)
val_words, val_topics = make_messages(500)

model = TopicClassifier()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

for step in range(400):
    if step % 25 == 0:
        val_loss = evaluate(model, val_words, val_topics)
    batch = torch.randint(len(train_words), (BATCH,))
    loss = criterion(model(train_words[batch]), train_topics[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")

print(f"final  val loss {evaluate(model, val_words, val_topics):.3f}")
