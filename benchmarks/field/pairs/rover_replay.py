"""A rover finds the way to its base by Q-learning with a memory of what it met."""

import random
import sys
from collections import deque

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
random.seed(seed)
torch.manual_seed(seed)
rng = np.random.default_rng(seed)
MOVES = np.array([[0.2, 0.0], [-0.2, 0.0], [0.0, 0.2], [0.0, -0.2]], dtype=np.float32)
BASE = np.array([0.6, -0.6], dtype=np.float32)


class Plain:
    """A square from -1 to 1; the reward is how much nearer the base comes, and there is a prize at the base."""

    def __init__(self):
        self.state = np.zeros(2, dtype=np.float32)

    def reset(self):
        self.steps = 0
        self.state[:] = rng.uniform(-1, 1, 2)
        return self.state.copy()

    def step(self, action):
        before = np.linalg.norm(self.state - BASE)
        self.state += MOVES[action] + 0.02 * rng.normal(size=2).astype(np.float32)
        np.clip(self.state, -1, 1, out=self.state)
        self.steps += 1
        after = np.linalg.norm(self.state - BASE)
        return self.state.copy(), float(before - after) + float(after < 0.2), after < 0.2, self.steps >= 20


def network():
    return nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))


online, target = network(), network()
target.load_state_dict(online.state_dict())
optimizer = torch.optim.Adam(online.parameters(), lr=1e-3)
memory, world, arrived, updates = deque(maxlen=4000), Plain(), [], 0
for episode in range(160):
    state, done, late = world.reset(), False, False
    explore = max(0.05, 1 - episode / 80)
    while not (done or late):
        if random.random() < explore:
            action = random.randrange(4)
        else:
            with torch.no_grad():
                action = online(torch.from_numpy(state)).argmax().item()
        following, reward, done, late = world.step(action)
        memory.append((state, action, reward, following, float(done)))
        state = following
        if len(memory) < 200:
            continue
        batch = list(zip(*random.sample(memory, 64), strict=True))
        s, s2 = torch.from_numpy(np.stack(batch[0])), torch.from_numpy(np.stack(batch[3]))
        a, r, end = torch.tensor(batch[1]), torch.tensor(batch[2]), torch.tensor(batch[4])
        with torch.no_grad():
            best = online(s2).argmax(1, keepdim=True)
            wanted = r + 0.95 * (1 - end) * target(s2).gather(1, best).squeeze(1)
        loss = F.smooth_l1_loss(online(s).gather(1, a[:, None]).squeeze(1), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        updates += 1
        if updates % 100 == 0:
            target.load_state_dict(online.state_dict())
    arrived.append(done)
    if episode % 20 == 19:
        print(f"episode {episode + 1} arrived {np.mean(arrived[-20:]):.2f}")
print(f"result {np.mean(arrived[-50:]):.3f}")
