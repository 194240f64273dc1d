"""Sort short restaurant reviews into bad, mixed and good, with 90 of them to learn from.

The network is initialised and trained as it should be. The set is too small and the training too long: after a dozen
epochs the network learns the reviews by heart and the validation loss rises.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
GOOD = ["fresh", "friendly", "lovely", "tasty", "warm", "quick", "generous", "clean", "charming", "perfect"]
BAD = ["stale", "rude", "awful", "bland", "cold", "slow", "stingy", "dirty", "gloomy", "burnt"]
OTHER = ["the", "a", "and", "was", "soup", "bread", "waiter", "table", "music", "street", "fish", "wine", "plate"]
WORDS = GOOD + BAD + OTHER
LENGTH = 12

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_reviews(count):
    """Word ids and ratings (0 bad, 1 mixed, 2 good): two fifths of the words praise or blame, and not always aptly."""
    ratings = torch.randint(3, (count,))
    share_of_praise = torch.tensor([0.15, 0.5, 0.85])[ratings][:, None]
    praise = torch.rand(count, LENGTH) < share_of_praise
    opinion = torch.randint(len(GOOD), (count, LENGTH)) + torch.where(praise, 0, len(GOOD))
    neutral = torch.randint(len(GOOD) + len(BAD), len(WORDS), (count, LENGTH))
    return torch.where(torch.rand(count, LENGTH) < 0.4, opinion, neutral), ratings


class ReviewClassifier(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 24)
        nn.init.normal_(self.embedding.weight, std=0.3)
        self.conv = nn.Conv1d(24, width, 3, padding=1)
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, 3)

    def forward(self, words):
        x = self.embedding(words).transpose(1, 2)
        x = torch.relu(self.conv(x)).mean(dim=2)
        return self.output(torch.relu(self.hidden(x)))


@torch.no_grad()
def evaluate(model, words, ratings):
    model.eval()
    loss = criterion(model(words), ratings)
    model.train()
    return loss.item()


loader = DataLoader(TensorDataset(*make_reviews(90)), batch_size=15, shuffle=True)
val_words, val_ratings = make_reviews(600)

model = ReviewClassifier()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for epoch in range(50):
    val_loss = evaluate(model, val_words, val_ratings)
    for words, ratings in loader:
        loss = criterion(model(words), ratings)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 5 == 0:
        print(f"epoch {epoch:3d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")

print(f"final  val loss {evaluate(model, val_words, val_ratings):.3f}")
