"""Grade noisy measurements into five classes with normalised layers.

The weight decay is a hundred times the usual one. The layers are normalised, so their weights shrink without changing
what the network computes, and their gradient grows as they shrink; the loss has long stopped falling.
"""

import torch
from torch import nn

SEED = 0
FEATURES, CLASSES = 10, 5
BATCH = 256

torch.manual_seed(SEED)
torch.set_num_threads(1)

weights = torch.randn(FEATURES, CLASSES)


def make_measurements(count):
    """Standardised features, and a class that depends on them and on chance."""
    x = torch.randn(count, FEATURES)
    return x, torch.distributions.Categorical(logits=0.5 * x @ weights / FEATURES**0.5).sample()


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_measurements(6000)
val_x, val_y = make_measurements(500)

model = nn.Sequential(
    nn.Linear(FEATURES, 64, bias=False),
    nn.LayerNorm(64, elementwise_affine=False),
    nn.ReLU(),
    nn.Linear(64, 64, bias=False),
    nn.LayerNorm(64, elementwise_affine=False),
    nn.ReLU(),
    nn.Linear(64, CLASSES),
)
criterion = nn.CrossEntropyLoss()
hidden = [model[0].weight, model[3].weight]
optimizer = torch.optim.SGD(
    [{"params": hidden, "weight_decay": 0.8, "lr": 0.008}, {"params": model[6].parameters(), "lr": 0.2}]
)

for step in range(600):
    if step % 25 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")

print(f"final  val loss {evaluate(model, val_x, val_y):.3f}")
