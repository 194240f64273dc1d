"""A recurrent language model over one long text in thirty-two lanes; the state is handed on from part to part."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
SIGNS, LANES, PART = 20, 32, 25


def text(length, following):
    """Signs that follow each other by a table; an opened bracket is closed by its own kind some signs later."""
    signs, due, now = [], {}, 2
    choices, gaps = torch.randint(0, 3, (length,)), torch.randint(4, 9, (length,))
    for place in range(length):
        if place in due:
            now = due.pop(place)
        else:
            now = int(following[now, choices[place]])
            if now in (0, 1):
                due[place + int(gaps[place])] = 18 + now
        signs.append(now)
    return torch.tensor(signs)


class Model(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.embedding = nn.Embedding(SIGNS, 32)
        self.lstm = nn.LSTM(32, width, batch_first=True)
        self.out = nn.Linear(width, SIGNS)

    def forward(self, signs, state):
        output, state = self.lstm(self.embedding(signs), state)
        return self.out(output), state


def parts(stream):
    """Lanes side by side, cut into parts that follow each other; the order is always the same."""
    lanes = stream[: len(stream) // LANES * LANES].view(LANES, -1)
    for start in range(0, lanes.size(1) - PART - 1, PART):
        yield lanes[:, start : start + PART], lanes[:, start + 1 : start + PART + 1]


def evaluate(model, stream):
    model.eval()
    losses, state = [], None
    with torch.no_grad():
        for signs, following in parts(stream):
            logits, state = model(signs, state)
            losses.append(F.cross_entropy(logits.flatten(0, 1), following.flatten()).item())
    return sum(losses) / len(losses)


table = torch.randint(0, 18, (SIGNS, 3))
training, validation = text(48000, table), text(12000, table)
model = Model()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(5):
    model.train()
    state = None
    for signs, following in parts(training):
        if state is not None:
            state = tuple(tensor.detach() for tensor in state)
        logits, state = model(signs, state)
        loss = F.cross_entropy(logits.flatten(0, 1), following.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    held = evaluate(model, validation)
    print(f"epoch {epoch} loss {loss.item():.3f} validation {held:.3f}")
print(f"result {held:.4f}")
