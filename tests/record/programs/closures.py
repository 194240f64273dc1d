"""Steps with a closure, as Lightning, skorch and LBFGS make them."""

import torch
from torch import nn

torch.manual_seed(4)
EXPECTED = {"steps": 0, "losses": [], "evaluations": {"validation": []}, "classes": 3}
X, Y = torch.randn(60, 8), torch.randint(0, 3, (60,))
module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
criterion = nn.CrossEntropyLoss()


def train_step_single(Xi, yi):
    module.train()
    loss = criterion(module(Xi), yi)
    loss.backward()
    return {"loss": loss}


def train_step(Xi, yi):
    found = {}

    def step_fn():
        optimizer.zero_grad()
        found.update(train_step_single(Xi, yi))
        return found["loss"]

    optimizer.step(step_fn)
    return found["loss"].item()


def validation_step(Xi, yi):
    module.eval()
    with torch.no_grad():
        return criterion(module(Xi), yi).item()


for _epoch in range(6):
    for i in range(0, 48, 16):
        EXPECTED["losses"].append(train_step(X[i : i + 16], Y[i : i + 16]))
        EXPECTED["steps"] += 1
    EXPECTED["evaluations"]["validation"].append(validation_step(X[48:], Y[48:]))
