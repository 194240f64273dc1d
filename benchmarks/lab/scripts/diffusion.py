"""Points on two moons: a denoising diffusion model that predicts the noise, AdamW, exponential mean of weights."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 500
BATCH = 128
LEVELS = 50
WIDTH = 64
DECAY = 0.99
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_points(count):
    angle = torch.pi * torch.rand(count)
    side = torch.randint(2, (count,))
    x = torch.where(side == 1, 1 - angle.cos(), angle.cos()) - 0.5
    y = torch.where(side == 1, 0.5 - angle.sin(), angle.sin()) - 0.25
    return 1.5 * torch.stack([x, y], dim=1) + 0.05 * torch.randn(count, 2)


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.level = nn.Embedding(LEVELS, 16)
        self.hidden1 = nn.Linear(2 + 16, WIDTH)
        self.hidden2 = nn.Linear(WIDTH, WIDTH)
        self.hidden3 = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, x, level):
        x = F.silu(self.hidden1(torch.cat([x, self.level(level)], dim=1)))
        x = x + F.silu(self.hidden2(x))
        x = x + F.silu(self.hidden3(x))
        return self.head(x)


signal = torch.cos(torch.linspace(0.02, 1.5, LEVELS))
train_x = make_points(8000)
validation_x = make_points(2000)
validation_level = torch.randint(LEVELS, (2000,))
validation_noise = torch.randn(2000, 2)

model = Denoiser()
averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY))
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)


def noisy(x, noise, level):
    share = signal[level, None]
    return share * x + (1 - share**2).sqrt() * noise


@torch.no_grad()
def evaluate():
    model.eval()
    output = averaged(noisy(validation_x, validation_noise, validation_level), validation_level)
    return F.mse_loss(output, validation_noise).item()


print("constant 1.0000")
for step in range(STEPS):
    model.train()
    x = train_x[torch.randint(len(train_x), (BATCH,))]
    noise, level = torch.randn(BATCH, 2), torch.randint(LEVELS, (BATCH,))
    output = model(noisy(x, noise, level), level)
    loss = F.mse_loss(output, noise)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    averaged.update_parameters(model)
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
