"""Same or different speaker: a siamese network with a triplet loss, SGD with momentum."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
SPEAKERS = 40
WIDTH = 64
MARGIN = 1.0
LEARNING_RATE = 0.02

torch.manual_seed(SEED)
torch.set_num_threads(1)

voices = torch.randn(SPEAKERS, 24)
mixing = torch.randn(24, 24) / 24**0.5


def make_triplets(count):
    same, other = torch.randint(SPEAKERS, (2, count))
    speakers = torch.stack([same, same, other], dim=1)
    return torch.tanh(voices[speakers] @ mixing) + 0.5 * torch.randn(count, 3, 24)


train_x = make_triplets(8000)
validation_x = make_triplets(1000)

model = nn.Sequential(
    nn.Linear(24, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, WIDTH),
    nn.ReLU(),
    nn.Linear(WIDTH, 16),
)
optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)


def triplet(output):
    return F.triplet_margin_loss(output[:, 0], output[:, 1], output[:, 2], margin=MARGIN)


@torch.no_grad()
def evaluate():
    model.eval()
    return triplet(model(validation_x)).item()


print(f"constant {MARGIN:.4f}")
for step in range(STEPS):
    model.train()
    x = train_x[torch.randint(len(train_x), (BATCH,))]
    output = model(x)
    loss = triplet(output)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
