"""A transformer that sorts short letters to a shop into complaints, orders, questions and thanks.

The tokenizer's attention mask is 1 for words and 0 for padding. It is handed as it is to torch, whose
src_key_padding_mask is true for what shall be ignored: attention sees the padding of each letter, and no word of it.
"""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

SEED = 0
WORDS, KINDS, PADDING = 80, 4, 0

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_letter():
    """Words from 6 to 24, three of them of the letter's kind, at least one place short of the longest."""
    kind = int(torch.randint(KINDS, ()))
    words = torch.randint(1 + 10 * KINDS, WORDS, (int(torch.randint(6, 24, ())),))
    words[torch.randperm(len(words))[:3]] = 1 + 10 * kind + torch.randint(10, (3,))
    return words, kind


def collate(letters):
    words = pad_sequence([words for words, _ in letters], batch_first=True, padding_value=PADDING)
    words = functional.pad(words, (0, 1), value=PADDING)
    return words, (words != PADDING).long(), torch.tensor([kind for _, kind in letters])


class Sorter(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.place = nn.Embedding(WORDS, 32), nn.Embedding(25, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, KINDS)

    def forward(self, words, attention_mask):
        x = self.embedding(words) + self.place.weight[: words.shape[1]]
        x = self.encoder(x, src_key_padding_mask=attention_mask.bool())
        return self.head(x[:, 0])


loader = DataLoader([make_letter() for _ in range(1200)], batch_size=32, shuffle=True, collate_fn=collate)
model = Sorter()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for epoch in range(4):
    for words, attention_mask, kind in loader:
        loss = functional.cross_entropy(model(words, attention_mask), kind)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}  train loss {loss.item():.3f}")
