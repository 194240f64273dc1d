"""Eight classes: a multilayer perceptron under Lion, an optimizer that the script brings along."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
CLASSES = 8
WIDTH = 64
LEARNING_RATE = 3e-4
WEIGHT_DECAY = 0.1

torch.manual_seed(SEED)
torch.set_num_threads(1)

centres = 1.2 * torch.randn(CLASSES, 3, 20)


def make_examples(count):
    y = torch.randint(CLASSES, (count,))
    x = centres[y, torch.randint(3, (count,))] + torch.randn(count, 20)
    return x, y


train_x, train_y = make_examples(6000)
validation_x, validation_y = make_examples(1000)


class Lion(torch.optim.Optimizer):
    """Updates by the sign of a running mean of gradients (Chen et al., 2023)."""

    def __init__(self, parameters, lr, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            fast, slow = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(group["lr"] * torch.lerp(parameter.grad, mean, fast).sign())
                mean.lerp_(parameter.grad, 1 - slow)


model = nn.Sequential(
    nn.Linear(20, WIDTH),
    nn.GELU(),
    nn.Linear(WIDTH, WIDTH),
    nn.GELU(),
    nn.Linear(WIDTH, CLASSES),
)
optimizer = Lion(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x), validation_y).item()


print(f"constant {torch.log(torch.tensor(CLASSES)):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x)
    loss = F.cross_entropy(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
