"""Curves of three hidden factors: an autoencoder with a bottleneck of four, Adam, mean squared error."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
POINTS = 64
BOTTLENECK = 4
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

waves = torch.randn(3, POINTS).cumsum(dim=1)
waves = waves / waves.std(dim=1, keepdim=True)


def make_curves(count):
    factors = torch.randn(count, 3)
    curves = torch.tanh(factors @ waves) + 0.3 * torch.sin(factors[:, :1] * waves[1])
    return curves + 0.05 * torch.randn(count, POINTS)


train_x = make_curves(5000)
validation_x = make_curves(500)

model = nn.Sequential(
    nn.Linear(POINTS, 64),
    nn.ReLU(),
    nn.Linear(64, 32),
    nn.ReLU(),
    nn.Linear(32, BOTTLENECK),
    nn.Linear(BOTTLENECK, 32),
    nn.ReLU(),
    nn.Linear(32, 64),
    nn.ReLU(),
    nn.Linear(64, POINTS),
)
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.mse_loss(model(validation_x), validation_x).item()


print(f"constant {train_x.var(dim=0).mean():.4f}")
for step in range(STEPS):
    model.train()
    x = train_x[torch.randint(len(train_x), (BATCH,))]
    output = model(x)
    loss = F.mse_loss(output, x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
