"""Learn what each square of a walk to the exit is worth.

The target network is made by a deep copy, and the line that should bring it up to date averages it with itself.
"""

import copy

import torch
from torch import nn
from torch.nn import functional

SEED = 0
SQUARES, STEPS, BATCH = 12, 600, 64
DISCOUNT, RATE = 0.9, 0.05

torch.manual_seed(SEED)
torch.set_num_threads(1)

online = nn.Sequential(nn.Linear(SQUARES, 48), nn.ReLU(), nn.Linear(48, 2))
target = copy.deepcopy(online)
optimizer = torch.optim.Adam(online.parameters(), lr=1e-3)

for step in range(STEPS):
    square = torch.randint(SQUARES - 1, (BATCH,))
    action = torch.randint(2, (BATCH,))
    following = (square + 2 * action - 1).clamp(0, SQUARES - 1)
    reward = (following == SQUARES - 1).float()
    with torch.no_grad():
        best = target(functional.one_hot(following, SQUARES).float()).max(1).values
        aim = reward + DISCOUNT * (1 - reward) * best
    value = online(functional.one_hot(square, SQUARES).float()).gather(1, action[:, None]).squeeze(1)
    loss = functional.mse_loss(value, aim)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for old, new in zip(target.parameters(), target.parameters(), strict=True):
            old.lerp_(new, RATE)
    if step % 100 == 99:
        print(
            f"step {step}  loss {loss.item():.4f}  value of the first square {online(torch.eye(SQUARES)[:1]).max():.3f}"
        )
