"""Sort messages by their sender's mood, from counts of words.

The optimizer is made inside the loop over the epochs: Adam forgets its averages every 25 steps.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
EPOCHS = 12

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_messages(count, words=40):
    """Counts of words, and one of three moods that likes some of them."""
    mood = torch.randint(0, 3, (count,))
    rates = 0.3 + 0.5 * torch.rand(3, words)
    return torch.poisson(rates[mood]), mood


loader = DataLoader(TensorDataset(*make_messages(800)), batch_size=32, shuffle=True)
model = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 3))
criterion = nn.CrossEntropyLoss()

for epoch in range(EPOCHS):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for counts, mood in loader:
        loss = criterion(model(counts), mood)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch:2d}  train loss {loss.item():.3f}")
