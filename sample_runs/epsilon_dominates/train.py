"""Take the noise off small pictures with an autoencoder.

The loss is a mean over the pixels and is divided by their number once more, so gradients are thousands of times smaller
than usual. That alone would not matter to Adam; but its eps is 1e-5, copied from the recipe of an agent, and above
every gradient: the steps are less than a percent of what the learning rate says.
"""

import torch
from torch import nn

SEED = 0
SIDE, BATCH, STEPS = 12, 64, 360

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_pictures(count):
    """A bright disc somewhere on a dark ground."""
    place = torch.arange(SIDE, dtype=torch.float32)
    x, y, radius = (SIDE * torch.rand(count, 1, 1) for _ in range(3))
    distance = ((place[:, None] - x) ** 2 + (place - y) ** 2).sqrt()
    return torch.sigmoid(2 + radius / 4 - distance).flatten(1)


pictures, held_out = make_pictures(2000), make_pictures(200)
model = nn.Sequential(nn.Linear(SIDE * SIDE, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, SIDE * SIDE))
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, eps=1e-5)

for step in range(STEPS):
    clean = pictures[torch.randint(len(pictures), (BATCH,))]
    noisy = clean + 0.3 * torch.randn_like(clean)
    loss = criterion(model(noisy), clean) / clean.numel()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 40 == 0:
        print(f"step {step:3d}  train loss {clean.numel() * loss.item():.4f}")

with torch.no_grad():
    noisy = held_out + 0.3 * torch.randn_like(held_out)
    print(f"final  validation loss {criterion(model(noisy), held_out).item():.4f}")
