"""Two amounts of very different noise from one picture: each loss is weighted by a variance that is learned."""

import sys

import torch
from torch import nn

SEED = int(sys.argv[1])
STEPS = 400
BATCH = 64
SIZE = 10
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_pictures(count):
    """A blob; its height above the floor is asked for, and how far right it is, with much more noise."""
    place = torch.rand(count, 2) * 8 + 0.5
    rows, columns = (torch.exp(-((torch.arange(SIZE) - part) ** 2) / 3) for part in place.split(1, dim=1))
    shape = rows[:, :, None] * columns[:, None]
    y = (place - 4.5) / 2.3 + torch.tensor([0.05, 0.6]) * torch.randn(count, 2)
    return (shape + 0.1 * torch.randn(shape.shape))[:, None], y


class Picture(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.height = nn.Sequential(nn.Linear(400, 32), nn.ReLU(), nn.Linear(32, 1))
        self.width = nn.Sequential(nn.Linear(400, 32), nn.ReLU(), nn.Linear(32, 1))
        self.log_variance = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        x = self.trunk(x)
        return torch.cat([self.height(x), self.width(x)], dim=1)


train_x, train_y = make_pictures(4000)
validation_x, validation_y = make_pictures(500)

model = Picture()
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)


def objective(output, y):
    """Gaussian log-likelihood of both amounts, less what is constant."""
    error = (output - y).square().mean(dim=0)
    return (0.5 * error * torch.exp(-model.log_variance) + 0.5 * model.log_variance).sum()


@torch.no_grad()
def evaluate():
    model.eval()
    return objective(model(validation_x), validation_y).item()


print(f"constant {(0.5 + 0.5 * train_y.var(dim=0).log()).sum():.4f}")
for step in range(STEPS):
    model.train()
    rows = torch.randint(len(train_x), (BATCH,))
    x, y = train_x[rows], train_y[rows]
    output = model(x)
    loss = objective(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
