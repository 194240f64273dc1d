"""Binary pictures of crosses: a convolutional variational autoencoder whose second term is faded in over 200 steps."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
SIZE = 8
LATENT = 6
FADE_IN = 200
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_crosses(count):
    """A row and a column are lit, and one pixel in 20 is flipped."""
    row, column = torch.randint(SIZE, (2, count))
    lit = F.one_hot(row, SIZE)[:, :, None] + F.one_hot(column, SIZE)[:, None] > 0
    return (lit ^ (torch.rand(lit.shape) < 0.05)).float()[:, None]


class VariationalAutoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 64), nn.ReLU()
        )
        self.mean = nn.Linear(64, LATENT)
        self.log_variance = nn.Linear(64, LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, 64),
            nn.ReLU(),
            nn.Linear(64, 256),
            nn.ReLU(),
            nn.Unflatten(1, (16, 4, 4)),
            nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
        )

    def forward(self, x):
        x = self.encoder(x)
        mean, log_variance = self.mean(x), self.log_variance(x)
        code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.decoder(code), -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1)


train_x = make_crosses(6000)
validation_x = make_crosses(1000)

model = VariationalAutoencoder()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    """The bound: both terms at weight 1."""
    model.eval()
    output, divergence = model(validation_x)
    error = F.binary_cross_entropy_with_logits(output, validation_x, reduction="none").flatten(1).sum(dim=1)
    return (error + divergence).mean().item()


shares = train_x.mean(dim=0)
print(f"constant {F.binary_cross_entropy(shares, shares, reduction='sum'):.4f}")
for step in range(STEPS):
    model.train()
    x = train_x[torch.randint(len(train_x), (BATCH,))]
    output, divergence = model(x)
    error = F.binary_cross_entropy_with_logits(output, x, reduction="none").flatten(1).sum(dim=1)
    loss = (error + min(1.0, step / FADE_IN) * divergence).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
