"""Four overlapping classes: softmax regression on the full batch with LBFGS and weight decay by hand."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 40
CLASSES = 4
PENALTY = 1e-3
LEARNING_RATE = 0.5

torch.manual_seed(SEED)
torch.set_num_threads(1)

centres = 0.5 * torch.randn(CLASSES, 20)


def make_examples(count):
    y = torch.randint(CLASSES, (count,))
    return centres[y] + torch.randn(count, 20), y


train_x, train_y = make_examples(3000)
validation_x, validation_y = make_examples(1000)

model = nn.Linear(20, CLASSES)
optimizer = torch.optim.LBFGS(model.parameters(), lr=LEARNING_RATE, max_iter=3, history_size=10)


def closure():
    optimizer.zero_grad()
    output = model(train_x)
    loss = F.cross_entropy(output, train_y) + PENALTY * model.weight.square().sum()
    loss.backward()
    return loss


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x), validation_y).item()


print(f"constant {torch.log(torch.tensor(CLASSES)):.4f}")
for step in range(STEPS):
    model.train()
    loss = optimizer.step(closure)
    print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
