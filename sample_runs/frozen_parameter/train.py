"""Tell four kinds of signal apart with an encoder and a classifier.

The encoder is not trained: its output is detached, a leftover of an experiment in which it was pretrained. The
classifier learns what it can from random features, and the loss falls all the same.
"""

import torch
from torch import nn

SEED = 0
KINDS = 4
LENGTH = 48
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_signals(count):
    """Sine, square, saw and pulse waves of random period, phase and height, with noise."""
    labels = torch.randint(KINDS, (count,))
    time = torch.arange(LENGTH) / LENGTH
    phase = (time * (2 + 3 * torch.rand(count, 1)) + torch.rand(count, 1)) % 1
    waves = torch.stack(
        [torch.sin(2 * torch.pi * phase), (phase < 0.5) * 2.0 - 1, 2 * phase - 1, (phase < 0.2) * 2.0 - 1], dim=1
    )
    signals = waves[torch.arange(count), labels] * (0.7 + 0.6 * torch.rand(count, 1))
    return signals[:, None] + 0.3 * torch.randn(count, 1, LENGTH), labels


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(1, 16, 5, padding=2)
        self.conv2 = nn.Conv1d(16, 32, 5, padding=2)

    def forward(self, x):
        x = nn.functional.max_pool1d(torch.relu(self.conv1(x)), 2)
        return torch.relu(self.conv2(x)).mean(dim=2)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.hidden = nn.Linear(32, 64)
        self.output = nn.Linear(64, KINDS)

    def forward(self, x):
        features = self.encoder(x).detach()
        return self.output(torch.relu(self.hidden(features)))


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_signals(4000)
val_x, val_y = make_signals(500)

model = Model()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for step in range(400):
    if step % 20 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")

print(f"final  val loss {evaluate(model, val_x, val_y):.3f}")
