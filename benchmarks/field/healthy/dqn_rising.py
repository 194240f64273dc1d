"""Q-learning that balances a pole; the targets rise with what the agent reaches."""

import math
import random
import sys

import torch
from torch import nn
from torch.nn import functional as F

random.seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


class Pole:
    """A reward of 1 a step, up to 200."""

    def reset(self):
        self.state, self.time = [random.uniform(-0.05, 0.05) for _ in range(4)], 0
        return list(self.state)

    def step(self, action):
        x, speed, angle, turn = self.state
        pushed = ((10 if action else -10) + 0.05 * turn * turn * math.sin(angle)) / 1.1
        bend = 0.5 * (4 / 3 - 0.1 * math.cos(angle) ** 2 / 1.1)
        falls = (9.8 * math.sin(angle) - math.cos(angle) * pushed) / bend
        moved = pushed - 0.05 * falls * math.cos(angle) / 1.1
        self.state = [x + 0.02 * speed, speed + 0.02 * moved, angle + 0.02 * turn, turn + 0.02 * falls]
        self.time += 1
        dead = abs(self.state[0]) > 2.4 or abs(self.state[2]) > 0.21
        return list(self.state), 1.0, dead, dead or self.time >= 200


def network():
    return nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))


online, target = network(), network()
target.load_state_dict(online.state_dict())
optimizer = torch.optim.Adam(online.parameters(), lr=1e-3)
pole, memory, lengths, epsilon = Pole(), [], [], 1.0
state = pole.reset()
for step in range(3500):
    action = random.randrange(2) if random.random() < epsilon else int(online(torch.tensor(state)).argmax())
    following, reward, dead, end = pole.step(action)
    memory.append((state, action, reward, following, float(dead)))
    state, epsilon = following, max(0.05, epsilon - 1 / 2000)
    if end:
        lengths.append(pole.time)
        state = pole.reset()
    if len(memory) < 200:
        continue
    s, a, r, s2, ended = (torch.tensor(column) for column in zip(*random.sample(memory[-5000:], 64), strict=True))
    with torch.no_grad():
        wanted = r + 0.99 * (1 - ended) * target(s2).max(1).values
    loss = F.mse_loss(online(s).gather(1, a[:, None]).squeeze(1), wanted)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 200 == 0:
        target.load_state_dict(online.state_dict())
print(f"result {sum(lengths[-10:]) / 10:.1f}")
