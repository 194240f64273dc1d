"""Q-learning with a target network in a corridor: a treasure on the right, a small bait on the left."""

import random
import sys

import torch
from torch import nn
from torch.nn import functional as F

random.seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
LENGTH = 8


def network():
    return nn.Sequential(nn.Linear(LENGTH, 64), nn.ReLU(), nn.Linear(64, 2))


def move(place, action):
    return min(LENGTH - 1, max(0, place + (1 if action else -1)))


cells = torch.eye(LENGTH)
eval_net, target_net = network(), network()
optimizer = torch.optim.Adam(eval_net.parameters(), lr=1e-3)
memory, place, time, epsilon, learned = [], 3, 0, 1.0, 0
for _ in range(2000):
    if random.random() < epsilon:
        action = random.randrange(2)
    else:
        with torch.no_grad():
            action = eval_net(cells[place]).argmax().item()
    following, time = move(place, action), time + 1
    win = following == LENGTH - 1
    memory.append((place, action, 10.0 if win else 0.2 * (following == 0), following, float(win)))
    place = following
    if win or time >= 40:
        place, time = random.randrange(LENGTH - 1), 0
    epsilon = max(0.05, epsilon - 1 / 1200)
    if len(memory) < 100:
        continue
    s, a, r, s2, end = (torch.tensor(column) for column in zip(*random.sample(memory[-2000:], 32), strict=True))
    q = eval_net(cells[s]).gather(1, a[:, None]).squeeze(1)
    with torch.no_grad():
        target = r + 0.95 * (1 - end) * target_net(cells[s2]).max(1).values
    loss = F.mse_loss(q, target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    learned += 1
    if learned % 50 == 0:
        target_net.load_state_dict(eval_net.state_dict())
place, steps = 0, 0
while place < LENGTH - 1 and steps < 60:
    with torch.no_grad():
        place, steps = move(place, eval_net(cells[place]).argmax().item()), steps + 1
print(f"result {steps}")
