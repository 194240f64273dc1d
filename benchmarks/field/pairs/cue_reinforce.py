"""Policy gradient on a memory game: at every turn a cue tells which of four levers pays."""

import sys

import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
torch.manual_seed(seed)
rng = np.random.default_rng(seed)
CUES, LEVERS, TURNS, GAMMA = 6, 4, 12, 0.3
PAYS = rng.integers(0, LEVERS, CUES)


class Game:
    """Twelve turns; a lever that pays gives one point, any other takes a third of a point."""

    def reset(self):
        self.turn, self.cue = 0, rng.integers(CUES)
        return self.cue

    def step(self, lever):
        reward = 1.0 if lever == PAYS[self.cue] else -0.33
        self.turn, self.cue = self.turn + 1, rng.integers(CUES)
        return self.cue, reward, self.turn == TURNS


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(CUES, 32), nn.Tanh(), nn.Linear(32, LEVERS))

    def forward(self, cue):
        return Categorical(logits=self.net(torch.eye(CUES)[cue]))


def play(game, policy):
    log_probs, rewards, cue, done = [], [], game.reset(), False
    while not done:
        choice = policy(cue)
        lever = choice.sample()
        log_probs.append(choice.log_prob(lever))
        cue, reward, done = game.step(lever.item())
        rewards.append(reward)
    return torch.stack(log_probs), rewards


def discounted(rewards):
    total, returns = 0.0, []
    for reward in reversed(rewards):
        total = reward + GAMMA * total
        returns.insert(0, total)
    return torch.tensor(returns)


game, policy = Game(), Policy()
optimizer = torch.optim.Adam(policy.parameters(), lr=5e-3)
history = []
for episode in range(500):
    log_probs, rewards = play(game, policy)
    loss = -(log_probs * discounted(rewards)).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(sum(rewards))
    if episode % 50 == 49:
        print(f"episode {episode + 1} reward {np.mean(history[-50:]):.2f} of {TURNS}")
print(f"result {np.mean(history[-100:]):.3f}")
