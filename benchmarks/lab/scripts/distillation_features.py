"""A small network learns a large one's answers and hidden features, with labels beside: a sum of three losses."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
CLASSES = 8
WIDTH = 40
TEMPERATURE = 3.0
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)


class Network(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(20, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.body(x)
        return x, self.head(x)


teacher = Network(200).requires_grad_(False).eval()
teacher.head.weight.mul_(40)
teacher.head.bias.zero_()
offset = teacher(torch.randn(4000, 20))[1].mean(dim=0)
teacher.head.bias.sub_(offset)


def make_examples(count):
    """Labels are drawn from what the teacher thinks."""
    x = torch.randn(count, 20)
    return x, torch.multinomial(teacher(x)[1].softmax(dim=1), 1).squeeze(1)


train_x, train_y = make_examples(10_000)
validation_x, validation_y = make_examples(1000)

model = Network(WIDTH)
bridge = nn.Linear(WIDTH, 200)
optimizer = torch.optim.AdamW([*model.parameters(), *bridge.parameters()], lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(validation_x)[1], validation_y).item()


shares = torch.bincount(train_y, minlength=CLASSES) / len(train_y)
print(f"constant {-(shares * shares.log()).nansum():.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    features, output = model(x)
    with torch.no_grad():
        wanted, scores = teacher(x)
    soft = F.kl_div(
        F.log_softmax(output / TEMPERATURE, dim=1), (scores / TEMPERATURE).softmax(dim=1), reduction="batchmean"
    )
    near = F.mse_loss(bridge(features), wanted)
    loss = 0.5 * F.cross_entropy(output, y) + 0.5 * TEMPERATURE**2 * soft + near
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
