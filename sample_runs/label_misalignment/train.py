"""A small language model of chess openings, one token a move.

The data set already gives the moves and, as labels, the moves that follow. The model shifts the labels once more, as
models of libraries do: each position is trained on the move after the next.
"""

import torch
from torch import nn
from torch.nn import functional

SEED = 0
MOVES, LENGTH, BATCH = 24, 17, 32

torch.manual_seed(SEED)
torch.set_num_threads(1)

following = torch.softmax(3 * torch.randn(MOVES, MOVES), dim=1)


def make_games(count):
    """Games in which each move depends on the one before."""
    game = [torch.randint(0, MOVES, (count,))]
    for _ in range(LENGTH - 1):
        game.append(torch.multinomial(following[game[-1]], 1).squeeze(1))
    return torch.stack(game, dim=1)


class Player(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(MOVES, 32)
        self.memory = nn.GRU(32, 64, batch_first=True)
        self.head = nn.Linear(64, MOVES)

    def forward(self, moves, labels):
        logits = self.head(self.memory(self.embedding(moves))[0])
        return functional.cross_entropy(logits[:, :-1].reshape(-1, MOVES), labels[:, 1:].reshape(-1))


games = make_games(1280)
model = Player()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

for epoch in range(5):
    for batch in torch.randperm(len(games)).split(BATCH):
        moves, labels = games[batch, :-1], games[batch, 1:]
        loss = model(moves, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}  train loss {loss.item():.3f}")
