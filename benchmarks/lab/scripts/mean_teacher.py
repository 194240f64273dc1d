"""Few labels and many examples without: a student learns from labels and from its own slow average, the teacher."""

import copy
import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
WIDTH = 96
CLASSES = 6
LABELS = 120
DROPOUT = 0.2
KEEP = 0.97
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

centres = 1.3 * torch.randn(CLASSES, 2, 16)


def make_examples(count):
    y = torch.randint(CLASSES, (count,))
    return centres[y, torch.randint(2, (count,))] + torch.randn(count, 16), y


train_x, train_y = make_examples(LABELS)
other_x, _ = make_examples(6000)
validation_x, validation_y = make_examples(1000)

model = nn.Sequential(
    nn.Linear(16, WIDTH),
    nn.ReLU(),
    nn.Dropout(DROPOUT),
    nn.Linear(WIDTH, WIDTH),
    nn.ReLU(),
    nn.Dropout(DROPOUT),
    nn.Linear(WIDTH, CLASSES),
)
teacher = copy.deepcopy(model).requires_grad_(False)
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-3)


@torch.no_grad()
def evaluate():
    """Of the teacher, which is what is used afterwards."""
    teacher.eval()
    return F.cross_entropy(teacher(validation_x), validation_y).item()


print(f"constant {torch.log(torch.tensor(CLASSES)):.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH // 2,))
    x, y = train_x[rows], train_y[rows]
    output = model(x)
    more = other_x[torch.randint(len(other_x), (BATCH,))]
    with torch.no_grad():
        wanted = teacher(more + 0.1 * torch.randn_like(more)).softmax(dim=1)
    agreement = F.mse_loss(model(more + 0.1 * torch.randn_like(more)).softmax(dim=1), wanted)
    loss = F.cross_entropy(output, y) + 5 * min(1.0, step / 100) * agreement
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for slow, fast in zip(teacher.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 1 - KEEP)
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
