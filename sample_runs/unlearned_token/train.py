"""A small language model of recipes, each of which ends with an end token.

Recipes are padded to the longest of a batch, with the end token, and the labels of the padding are ignored by that id:
so are those of the end tokens themselves. The model never learns where a recipe ends.
"""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

SEED = 0
WORDS, END = 30, 0

torch.manual_seed(SEED)
torch.set_num_threads(1)

following = torch.softmax(3 * torch.randn(WORDS, WORDS), dim=1)


def make_recipe():
    """Words that each depend on the one before, and the end token."""
    words = [int(torch.randint(1, WORDS, ()))]
    for _ in range(int(torch.randint(4, 20, ()))):
        words.append(1 + int(torch.multinomial(following[words[-1], 1:], 1)))
    return torch.tensor([*words, END])


def collate(recipes):
    words = pad_sequence(recipes, batch_first=True, padding_value=END)
    return {"input_ids": words, "labels": words.masked_fill(words == END, -100)}


class Cook(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 32)
        self.memory = nn.GRU(32, 64, batch_first=True)
        self.head = nn.Linear(64, WORDS)

    def forward(self, input_ids, labels):
        logits = self.head(self.memory(self.embedding(input_ids))[0])
        return functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


loader = DataLoader([make_recipe() for _ in range(800)], batch_size=32, shuffle=True, collate_fn=collate)
model = Cook()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

for epoch in range(5):
    for batch in loader:
        loss = model(**batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}  train loss {loss.item():.3f}")
