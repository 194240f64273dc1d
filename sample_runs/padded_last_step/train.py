"""Notes of a help desk, sorted by the product that each begins with; padded to 40 words, and most are short.

The GRU reads the whole of each padded row, and the answer is taken from its last output. Before it lie 19 steps of
padding in the mean: of the product nothing is left.
"""

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
WORDS, PRODUCTS, LENGTH, PADDING = 60, 4, 40, 0

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_notes(number):
    """The product, and 4 to 39 other words."""
    product = torch.randint(PRODUCTS, (number,))
    words = torch.randint(1 + PRODUCTS, WORDS, (number, LENGTH))
    words[:, 0] = 1 + product
    lengths = torch.randint(5, LENGTH + 1, (number, 1))
    return words.masked_fill(torch.arange(LENGTH) >= lengths, PADDING), product


class Sorter(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 24, padding_idx=PADDING)
        self.reader = nn.GRU(24, 32, batch_first=True)
        self.head = nn.Linear(32, PRODUCTS)

    def forward(self, words):
        output, _ = self.reader(self.embedding(words))
        return self.head(output[:, -1])


loader = DataLoader(TensorDataset(*make_notes(1600)), batch_size=40, shuffle=True)
model = Sorter()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

for epoch in range(5):
    for words, product in loader:
        loss = functional.cross_entropy(model(words), product)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}  train loss {loss.item():.3f}")
