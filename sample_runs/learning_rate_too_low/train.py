"""Recognise which of five waveforms a noisy signal is, with a multilayer perceptron.

The learning rate is wrong: 1e-7, a thousand to ten thousand times below what Adam needs here. Every gradient is
fine, and nothing moves.
"""

import torch
from torch import nn

SEED = 0
CLASSES = 5
SAMPLES = 64
BATCH = 64

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_signals(count):
    """Sine, square, triangle, sawtooth and pulse of random frequency and phase, with noise."""
    labels = torch.randint(CLASSES, (count,))
    cycles = 2 + 2 * torch.rand(count, 1)
    phase = (torch.linspace(0, 1, SAMPLES) * cycles + torch.rand(count, 1)) % 1
    sine = torch.sin(2 * torch.pi * phase)
    waves = torch.stack([sine, sine.sign(), 4 * (phase - 0.5).abs() - 1, 2 * phase - 1, (phase < 0.15).float()])
    return waves[labels, torch.arange(count)] + 0.2 * torch.randn(count, SAMPLES), labels


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    loss = criterion(model(x), y)
    model.train()
    return loss.item()


train_x, train_y = make_signals(4000)
val_x, val_y = make_signals(500)

model = nn.Sequential(
    nn.Linear(SAMPLES, 96),
    nn.ReLU(),
    nn.Linear(96, 96),
    nn.ReLU(),
    nn.Linear(96, CLASSES),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-7)

for step in range(400):
    if step % 25 == 0:
        val_loss = evaluate(model, val_x, val_y)
    batch = torch.randint(len(train_x), (BATCH,))
    loss = criterion(model(train_x[batch]), train_y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.4f}  val loss {val_loss:.4f}")

print(f"final  val loss {evaluate(model, val_x, val_y):.4f}")
