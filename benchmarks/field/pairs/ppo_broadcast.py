"""Proximal policy optimisation in a small world of cells, with generalised advantages."""

import sys

import torch
from torch import nn
from torch.distributions import Categorical
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
SIDE = 5


class Grid:
    """Reach the far corner: -0.1 a step, +6 at the goal."""

    def reset(self):
        self.place, self.time = [0, 0], 0
        return self.observed()

    def observed(self):
        row = torch.zeros(2 * SIDE)
        row[self.place[0]] = row[SIDE + self.place[1]] = 1
        return row

    def step(self, action):
        axis, move = divmod(action, 2)
        self.place[axis] = min(SIDE - 1, max(0, self.place[axis] + (1 - 2 * move)))
        self.time += 1
        goal = self.place == [SIDE - 1, SIDE - 1]
        return self.observed(), (6.0 if goal else -0.1), goal or self.time >= 40


def advantages(rewards, masks, values, gamma=0.99, decay=0.95):
    found, last, following = torch.zeros(len(rewards), 1), 0.0, 0.0
    for i in reversed(range(len(rewards))):
        delta = rewards[i] + gamma * following * masks[i] - values[i, 0].item()
        last = delta + gamma * decay * masks[i] * last
        found[i, 0], following = last, values[i, 0].item()
    return (found - found.mean()) / found.std(), values + found


policy = nn.Sequential(nn.Linear(2 * SIDE, 64), nn.Tanh(), nn.Linear(64, 4))
value = nn.Sequential(nn.Linear(2 * SIDE, 64), nn.Tanh(), nn.Linear(64, 1))
optimizer_p = torch.optim.Adam(policy.parameters(), lr=3e-3)
optimizer_v = torch.optim.Adam(value.parameters(), lr=3e-3)
world = Grid()
for _ in range(20):
    observed, actions, rewards, masks, episodes = [], [], [], [], 0
    now = world.reset()
    while len(observed) < 400:
        with torch.no_grad():
            action = Categorical(logits=policy(now)).sample().item()
        following, reward, done = world.step(action)
        for kept, item in zip((observed, actions, rewards, masks), (now, action, reward, 1.0 - done), strict=True):
            kept.append(item)
        episodes += done
        now = world.reset() if done else following
    states, taken = torch.stack(observed), torch.tensor(actions)
    with torch.no_grad():
        advantage, returns = advantages(rewards, masks, value(states))
        before = Categorical(logits=policy(states)).log_prob(taken)
    for _ in range(4):
        for rows in torch.randperm(len(states)).split(100):
            value_loss = F.mse_loss(value(states[rows]), returns[rows])
            optimizer_v.zero_grad()
            value_loss.backward()
            optimizer_v.step()
            choice = Categorical(logits=policy(states[rows]))
            ratio = (choice.log_prob(taken[rows]) - before[rows]).exp()
            a = advantage[rows].reshape(-1)
            clipped = -torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()
            policy_loss = clipped - 0.01 * choice.entropy().mean()
            optimizer_p.zero_grad()
            policy_loss.backward()
            optimizer_p.step()
print(f"result {sum(rewards) / max(1, episodes):.4f}")
