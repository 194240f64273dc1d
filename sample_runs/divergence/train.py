"""Predict which of six products a visitor buys from ten measurements.

The scheduler was meant to let the learning rate decay by 3 % a step and lets it grow by 3 %. The loss falls for a
hundred steps, and then leaves.
"""

import torch
from torch import nn

SEED = 0
FEATURES, PRODUCTS = 10, 6
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)

taste = torch.randn(FEATURES, 16)
appeal = torch.randn(16, PRODUCTS)


def make_visits(count):
    """Standardised measurements of a visit, and the product that was bought."""
    x = torch.randn(count, FEATURES)
    scores = torch.tanh(x @ taste / FEATURES**0.5) @ appeal
    return x, torch.distributions.Categorical(logits=1.5 * scores).sample()


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_visits(4000)
val_x, val_y = make_visits(500)

model = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, PRODUCTS))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=1.03)

for step in range(260):
    if step % 20 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    if step % 20 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")

print(f"final  val loss {evaluate(model, val_x, val_y):.3f}")
