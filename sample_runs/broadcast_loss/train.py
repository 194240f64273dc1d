"""Predict the melting temperature of a protein from its composition.

The model gives one number for each protein, in a column: (64, 1). The targets are a plain list: (64). mse_loss
stretches both to 64 x 64, so that each prediction is compared with all targets, and the best it can say is their mean.
"""

import torch
from torch import nn

SEED = 0
ACIDS = 20
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)

stability = torch.randn(ACIDS)


def make_proteins(count):
    """Standardised shares of the twenty amino acids, and a standardised melting temperature."""
    shares = torch.randn(count, ACIDS)
    return shares, (shares @ stability + 0.5 * torch.randn(count)) / ACIDS**0.5


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_proteins(2000)
val_x, val_y = make_proteins(500)

model = nn.Sequential(nn.Linear(ACIDS, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for epoch in range(10):
    for batch in torch.randperm(len(train_x)).split(BATCH):
        loss = criterion(model(train_x[batch]), train_y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    val_loss = evaluate(model, val_x, val_y)
    print(f"epoch {epoch}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
