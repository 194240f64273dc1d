"""An optimizer with modes of its own, which changes the weights outside of steps, too."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(10)
EXPECTED = {"steps": 0, "losses": [], "evaluations": {"test": []}, "classes": 3}


class ScheduleFree(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "k": 0})

    @torch.no_grad()
    def eval(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p in self.state:
                    p.lerp_(self.state[p]["z"], -0.1)

    @torch.no_grad()
    def train(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p in self.state:
                    p.lerp_(self.state[p]["z"], 0.1 / 1.1)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                z = self.state[p].setdefault("z", p.clone())
                z.sub_(p.grad, alpha=group["lr"])
                p.lerp_(z, 0.5)
            group["k"] += 1


model = nn.Sequential(nn.Flatten(), nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 3))
optimizer = ScheduleFree(model.parameters(), lr=0.1)
data = [(torch.randn(8, 3, 3), torch.randint(0, 3, (8,))) for _ in range(6)]
test_loader = [(torch.randn(8, 3, 3), torch.randint(0, 3, (8,))) for _ in range(2)]


def train(model, train_loader, optimizer):
    model.train()
    optimizer.train()
    for x, target in train_loader:
        optimizer.zero_grad()
        loss = F.nll_loss(F.log_softmax(model(x), 1), target)
        loss.backward()
        optimizer.step()
        EXPECTED["steps"] += 1
        EXPECTED["losses"].append(loss.item())


def test(model, test_loader, optimizer):
    model.eval()
    optimizer.eval()
    test_loss = 0.0
    with torch.no_grad():
        for data, target in test_loader:
            test_loss += F.nll_loss(F.log_softmax(model(data), 1), target, reduction="sum").item()
    return test_loss / 16


for _epoch in range(4):
    train(model, data, optimizer)
    EXPECTED["evaluations"]["test"].append(test(model, test_loader, optimizer))
