"""Steer a point to the middle of a plane: PPO with Gaussian actions, two networks, and an optimizer for each."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
ROUNDS = 30
POINTS = 32
HORIZON = 16
EPOCHS = 5
BATCH = 128
WIDTH = 64
DISCOUNT = 0.9
LEARNING_RATE = 3e-3
VALUE_RATE = 5e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

actor = nn.Sequential(
    nn.Linear(4, WIDTH),
    nn.Tanh(),
    nn.Linear(WIDTH, WIDTH),
    nn.Tanh(),
    nn.Linear(WIDTH, 2),
)
spread = nn.Parameter(torch.full((2,), -0.5))
critic = nn.Sequential(
    nn.Linear(4, WIDTH),
    nn.Tanh(),
    nn.Linear(WIDTH, WIDTH),
    nn.Tanh(),
    nn.Linear(WIDTH, 1),
)
optimizer = torch.optim.Adam([*actor.parameters(), spread], lr=LEARNING_RATE)
optimizer_v = torch.optim.Adam(critic.parameters(), lr=VALUE_RATE)


def fresh(count):
    """Places in a square, and speeds."""
    return torch.cat([4 * torch.rand(count, 2) - 2, 0.5 * torch.randn(count, 2)], dim=1)


def steer(state, action):
    """The next states, and what they cost: the distance from the middle."""
    place, speed = state.split(2, dim=1)
    speed = 0.8 * speed + 0.3 * action.clamp(-2, 2)
    place = place + speed
    return torch.cat([place, speed], dim=1), place.norm(dim=1)


begin = fresh(256)


@torch.no_grad()
def evaluate():
    """Mean distance over 16 steps when the mean action is taken."""
    actor.eval()
    state, total = begin, 0.0
    for _ in range(HORIZON):
        state, cost = steer(state, actor(state))
        total += cost.mean().item() / HORIZON
    return total


@torch.no_grad()
def play():
    state, kept = fresh(POINTS), []
    for _ in range(HORIZON):
        choice = torch.distributions.Normal(actor(state), spread.exp())
        action = choice.sample()
        new, cost = steer(state, action)
        kept.append((state, action, choice.log_prob(action).sum(dim=1), critic(state).squeeze(1), -cost))
        state = new
    states, actions, log_probabilities, values, rewards = (torch.stack(part) for part in zip(*kept, strict=True))
    following, returns = critic(state).squeeze(1), []
    for time in reversed(range(HORIZON)):
        following = rewards[time] + DISCOUNT * following
        returns.insert(0, following)
    returns = torch.stack(returns)
    return [part.flatten(0, 1) for part in (states, actions, log_probabilities, returns - values, returns)]


still, place = 0.0, begin
for _ in range(HORIZON):
    place, cost = steer(place, torch.zeros(len(place), 2))
    still += cost.mean().item() / HORIZON
print(f"constant {still:.4f}")  # the distance of a point that nobody steers
step = 0
for _ in range(ROUNDS):
    states, actions, before, advantages, returns = play()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(states)).split(BATCH):
            actor.train()
            y = returns[rows]
            value_loss = F.mse_loss(critic(states[rows]).squeeze(1), y)
            optimizer_v.zero_grad()
            value_loss.backward()
            optimizer_v.step()

            advantage = advantages[rows]
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            choice = torch.distributions.Normal(actor(states[rows]), spread.exp())
            ratio = (choice.log_prob(actions[rows]).sum(dim=1) - before[rows]).exp()
            loss = -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 20 == 0:
                print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
            step += 1
print(f"final validation {evaluate():.4f}")
