"""Helix, sheet or coil for every residue of a chain: an embedding, convolutions, a bidirectional GRU; padding."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 200
BATCH = 24
LENGTH = 40
RESIDUES = 20
WIDTH = 32
PADDING = -100
LEARNING_RATE = 4e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

odds = torch.rand(3, RESIDUES) ** 2


def make_chains(count):
    """Residues and structures; beyond its length a chain is padded, and the loss ignores it."""
    structures = torch.empty(count, LENGTH, dtype=torch.long)
    state = torch.randint(3, (count,))
    for position in range(LENGTH):
        state = torch.where(torch.rand(count) < 0.15, torch.randint(3, (count,)), state)
        structures[:, position] = state
    residues = torch.multinomial(odds[structures.flatten()], 1).view(count, LENGTH) + 1
    padded = torch.arange(LENGTH) >= torch.randint(LENGTH // 2, LENGTH + 1, (count, 1))
    return residues.masked_fill(padded, 0), structures.masked_fill(padded, PADDING)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(RESIDUES + 1, 16, padding_idx=0)
        self.conv1 = nn.Conv1d(16, WIDTH, 5, padding=2)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 5, padding=2)
        self.gru = nn.GRU(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, residues):
        x = self.embedding(residues).transpose(1, 2)
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        x, _ = self.gru(x.transpose(1, 2))
        return self.head(x).transpose(1, 2)


train_x, train_y = make_chains(2000)
validation_x, validation_y = make_chains(200)

model = Tagger()
optimizer = torch.optim.NAdam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x), validation_y, ignore_index=PADDING).item()


print(f"constant {torch.log(torch.tensor(3)):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x)
    loss = F.cross_entropy(output, y, ignore_index=PADDING)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
