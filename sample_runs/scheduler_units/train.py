"""Tell the season of a day from its weather, with a warmup and a cosine decay.

The schedule is planned in steps, and the scheduler is stepped at the end of each epoch: the run ends in its warmup.
"""

import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
EPOCHS = 12

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_days(count):
    """Temperature, light, rain and wind of days, standardised, and their season."""
    season = torch.randint(0, 4, (count,))
    centre = torch.tensor([[-1.2, -1.1, 0.2, 0.3], [0.1, 0.4, 0.1, 0.2], [1.2, 1.0, -0.2, -0.3], [0.0, -0.4, 0.3, 0.1]])
    return centre[season] + 0.5 * torch.randn(count, 4), season


loader = DataLoader(TensorDataset(*make_days(1600)), batch_size=32, shuffle=True)
total_steps = EPOCHS * len(loader)
warmup_steps = total_steps // 10


def schedule(step):
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))


model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)

for epoch in range(EPOCHS):
    for weather, season in loader:
        loss = criterion(model(weather), season)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheduler.step()
    print(f"epoch {epoch:2d}  train loss {loss.item():.3f}  learning rate {optimizer.param_groups[0]['lr']:.2e}")
