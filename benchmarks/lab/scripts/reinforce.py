"""A walker on a line of nine fields must reach the far end: REINFORCE with a running baseline and an entropy bonus."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 200
EPISODES = 24
FIELDS = 9
HORIZON = 24
ENTROPY = 0.01
LEARNING_RATE = 5e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

policy = nn.Sequential(nn.Linear(FIELDS, 32), nn.Tanh(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(policy.parameters(), lr=LEARNING_RATE)


def play():
    """Returns and log-probabilities of one batch of episodes; each move costs 1, and a move slips in 1 of 10 cases."""
    field = torch.full((EPISODES,), FIELDS // 2)
    alive = torch.ones(EPISODES)
    total, log_probability, entropy = torch.zeros(EPISODES), torch.zeros(EPISODES), torch.zeros(EPISODES)
    for _ in range(HORIZON):
        choice = torch.distributions.Categorical(logits=policy(F.one_hot(field, FIELDS).float()))
        action = choice.sample()
        log_probability = log_probability + alive * choice.log_prob(action)
        entropy = entropy + alive * choice.entropy()
        slips = torch.rand(EPISODES) < 0.1
        direction = torch.where(slips, torch.randint(2, (EPISODES,)), action) * 2 - 1
        field = (field + direction * alive.long()).clamp(0, FIELDS - 1)
        total = total - alive
        alive = alive * (field != FIELDS - 1).float()
    return total / HORIZON, log_probability, entropy / HORIZON


baseline = 0.0
print("constant 0.8200")  # the mean cost of a policy that tosses a coin
for step in range(STEPS):
    policy.train()
    total, log_probability, entropy = play()
    advantage = total - baseline
    loss = -(advantage * log_probability).mean() - ENTROPY * entropy.mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    baseline = 0.9 * baseline + 0.1 * total.mean().item()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {-total.mean().item():.4f}")
print(f"final validation {-baseline:.4f}")
