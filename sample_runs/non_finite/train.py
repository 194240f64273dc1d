"""Predict the progress of a disease, a score of 150 give or take 80, from ten standardised measurements.

The target is wrong: it is used as it is, not standardised. The squared error starts at some 30,000, its gradients
with SGD at 0.01 throw the weights far past the goal, and within two epochs the loss is NaN. Like many scripts this
one does not look and trains on.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
FEATURES = 10
EPOCHS = 12

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_patients(count, weights):
    """Standardised measurements and the score they lead to."""
    x = torch.randn(count, FEATURES)
    y = 150 + 70 * (x @ weights) / weights.norm() + 25 * torch.relu(x[:, 0] * x[:, 1]) + 20 * torch.randn(count)
    return x, y


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x).squeeze(1), y)
    model.train()
    return loss.item()


weights = torch.randn(FEATURES)
loader = DataLoader(TensorDataset(*make_patients(160, weights)), batch_size=32, shuffle=True)
val_x, val_y = make_patients(200, weights)

model = nn.Sequential(
    nn.Linear(FEATURES, 64),
    nn.GELU(),
    nn.Linear(64, 1),
)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

for epoch in range(EPOCHS):
    val_loss = evaluate(model, val_x, val_y)
    for x, y in loader:
        loss = criterion(model(x).squeeze(1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch:2d}  train loss {loss.item():10.4g}  val loss {val_loss:10.4g}")

print(f"final  val loss {evaluate(model, val_x, val_y):10.4g}")
