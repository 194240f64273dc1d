"""Predict the yield of a field from twelve measurements.

The validation runs without `model.eval()`: dropout stays on and batch normalisation takes its statistics from the
validation batch, so the loss that is reported is not that of the model in use.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
FEATURES = 12
EPOCHS = 10

torch.manual_seed(SEED)
torch.set_num_threads(1)

effects = torch.randn(FEATURES)
mixing = torch.randn(FEATURES, 6) / FEATURES**0.5


def make_fields(count):
    """Standardised measurements and the yield: some linear effects, some interactions, and weather."""
    x = torch.randn(count, FEATURES)
    harvest = x @ effects / FEATURES**0.5 + 0.7 * torch.tanh(x @ mixing).prod(dim=1) + (x[:, 0] * x[:, 1]) / 2
    return x, (harvest + 0.2 * torch.randn(count))[:, None]


@torch.no_grad()
def evaluate(model, loader):
    total = sum(criterion(model(x), y).item() * len(x) for x, y in loader)
    return total / len(loader.dataset)


train_loader = DataLoader(TensorDataset(*make_fields(2560)), batch_size=64, shuffle=True)
val_loader = DataLoader(TensorDataset(*make_fields(512)), batch_size=64)

model = nn.Sequential(
    nn.Linear(FEATURES, 64),
    nn.BatchNorm1d(64),
    nn.ReLU(),
    nn.Dropout(0.3),
    nn.Linear(64, 64),
    nn.ReLU(),
    nn.Dropout(0.3),
    nn.Linear(64, 1),
)
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

for epoch in range(EPOCHS):
    for x, y in train_loader:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    val_loss = evaluate(model, val_loader)
    print(f"epoch {epoch}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
