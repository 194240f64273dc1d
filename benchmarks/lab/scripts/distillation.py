"""A small network learns the soft answers of a fixed large one: Kullback-Leibler divergence at temperature 2, Adam."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
CLASSES = 8
TEMPERATURE = 2.0
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

teacher = nn.Sequential(nn.Linear(20, 256), nn.Tanh(), nn.Linear(256, CLASSES)).requires_grad_(False)
with torch.no_grad():
    teacher[0].weight.mul_(2)
    teacher[2].weight.mul_(12)

train_x = torch.randn(10_000, 20)
validation_x = torch.randn(1000, 20)

student = nn.Sequential(
    nn.Linear(20, 48),
    nn.ReLU(),
    nn.Linear(48, 48),
    nn.ReLU(),
    nn.Linear(48, CLASSES),
)
optimizer = torch.optim.Adam(student.parameters(), lr=LEARNING_RATE)


def soften(scores):
    return F.log_softmax(scores / TEMPERATURE, dim=1)


@torch.no_grad()
def evaluate():
    student.eval()
    output = soften(student(validation_x))
    return F.kl_div(output, soften(teacher(validation_x)), reduction="batchmean", log_target=True).item()


answers = soften(teacher(train_x))
mean = answers.exp().mean(dim=0).log()
print(f"constant {F.kl_div(mean.expand_as(answers), answers, reduction='batchmean', log_target=True):.4f}")
for step in range(STEPS):
    student.train()
    x = train_x[torch.randint(len(train_x), (BATCH,))]
    output = soften(student(x))
    loss = F.kl_div(output, soften(teacher(x)), reduction="batchmean", log_target=True)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
