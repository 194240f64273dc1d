"""A causal language model whose forward shifts the labels itself."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
WORDS, LENGTH = 32, 24
CHAIN = torch.softmax(2.5 * torch.randn(WORDS, WORDS, generator=torch.Generator().manual_seed(1)), -1)


def text(count):
    words = [torch.randint(0, WORDS, (count,))]
    for _ in range(LENGTH):
        words.append(torch.multinomial(CHAIN[words[-1]], 1).squeeze(1))
    return torch.stack(words, 1)


class CausalLM(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 48)
        self.rnn = nn.GRU(48, 96, batch_first=True)
        self.lm_head = nn.Linear(96, WORDS)

    def forward(self, input_ids, labels=None):
        logits = self.lm_head(self.rnn(self.emb(input_ids))[0])
        if labels is None:
            return None, logits
        loss = F.cross_entropy(logits[:, :-1].reshape(-1, WORDS), labels[:, 1:].reshape(-1), ignore_index=-100)
        return loss, logits


def batch_of(words):
    return words, words


train = DataLoader(TensorDataset(text(1500)), 32, shuffle=True)
validation = DataLoader(TensorDataset(text(200)), 50)
model = CausalLM()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(8):
    model.train()
    for (words,) in train:
        loss, _ = model(*batch_of(words))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        total = sum(model(*batch_of(words))[0].item() for (words,) in validation)
    print(f"epoch {epoch} validation {total / len(validation):.3f}")
with torch.no_grad():
    words = text(200)
    right = model(words[:, :-1])[1].log_softmax(-1).gather(-1, words[:, 1:, None])
print(f"result {-right.mean().item():.4f}")
