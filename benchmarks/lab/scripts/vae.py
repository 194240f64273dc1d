"""Binary pictures of bars: a variational autoencoder, binary cross-entropy plus the Kullback-Leibler term."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
SIZE = 8
LATENT = 6
BETA = 1.0
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_bars(count):
    """Each row and each column is lit with probability 1/8."""
    rows = torch.rand(count, SIZE, 1) < 1 / 8
    columns = torch.rand(count, 1, SIZE) < 1 / 8
    return (rows | columns).flatten(1).float()


class VariationalAutoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(SIZE**2, 64), nn.ReLU(), nn.Linear(64, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, 64), nn.ReLU(), nn.Linear(64, SIZE**2))

    def forward(self, x):
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1).mean()
        return self.decoder(code), divergence


train_x = make_bars(6000)
validation_x = make_bars(1000)

model = VariationalAutoencoder()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


def elbo(output, divergence, x):
    return F.binary_cross_entropy_with_logits(output, x, reduction="sum") / len(x) + BETA * divergence


@torch.no_grad()
def evaluate():
    model.eval()
    return elbo(*model(validation_x), validation_x).item()


shares = train_x.mean(dim=0)
print(f"constant {F.binary_cross_entropy(shares, shares, reduction='sum'):.4f}")
for step in range(STEPS):
    model.train()
    x = train_x[torch.randint(len(train_x), (BATCH,))]
    output, divergence = model(x)
    loss = elbo(output, divergence, x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
