"""Two noisy views of each example are matched within the batch: InfoNCE with a learned temperature, AdamW."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 300
BATCH = 64
WIDTH = 64
NOISE = 0.7
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

mixing = torch.randn(8, 32) / 8**0.5


def make_views(count):
    hidden = torch.randn(count, 8)
    views = [torch.tanh((hidden + 0.2 * torch.randn(count, 8)) @ mixing) + NOISE * torch.randn(count, 32) for _ in "ab"]
    return views[0], views[1]


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden1 = nn.Linear(32, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.hidden2 = nn.Linear(WIDTH, WIDTH)
        self.projection = nn.Linear(WIDTH, 16)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        x = torch.relu(self.norm(self.hidden1(x)))
        x = torch.relu(self.hidden2(x))
        return F.normalize(self.projection(x), dim=1)


model = Encoder()
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
validation_a, validation_b = make_views(BATCH)
targets = torch.arange(BATCH)


def similarity(a, b):
    return model(a) @ model(b).T * model.logit_scale.exp()


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(similarity(validation_a, validation_b), targets).item()


print(f"constant {torch.log(torch.tensor(BATCH)):.4f}")
for step in range(STEPS):
    model.train()
    a, b = make_views(BATCH)
    output = similarity(a, b)
    loss = (F.cross_entropy(output, targets) + F.cross_entropy(output.T, targets)) / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
