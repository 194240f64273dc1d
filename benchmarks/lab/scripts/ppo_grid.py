"""Reach the far corner of a room of 7 x 7 fields: PPO, one network with a head for the policy and one for the value."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
ROUNDS = 30
WALKERS = 16
HORIZON = 32
EPOCHS = 4
BATCH = 128
WIDTH = 64
SIDE = 7
DISCOUNT = 0.97
SMOOTHING = 0.95
ENTROPY = 0.01
MAX_NORM = 0.5
LEARNING_RATE = 3e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

moves = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])
fields = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))[:-1]


def seen(place):
    return torch.cat([F.one_hot(place[..., 0], SIDE), F.one_hot(place[..., 1], SIDE)], dim=-1).float()


def move(place, action):
    """New places and who has arrived; one move in ten slips."""
    action = torch.where(torch.rand(len(action)) < 0.1, torch.randint(4, action.shape), action)
    new = (place + moves[action]).clamp(0, SIDE - 1)
    return new, (new == SIDE - 1).all(dim=1)


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(2 * SIDE, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh())
        self.policy = nn.Linear(WIDTH, 4)
        self.value = nn.Linear(WIDTH, 1)
        nn.init.normal_(self.policy.weight, std=0.01)

    def forward(self, x):
        x = self.trunk(x)
        return self.policy(x), self.value(x).squeeze(-1)


model = ActorCritic()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, eps=1e-5)


@torch.no_grad()
def evaluate():
    """Mean share of 40 moves that walkers need from every field, each move drawn from the policy."""
    model.eval()
    place, away, total = fields.clone(), torch.ones(len(fields)), 0.0
    for _ in range(40):
        place, arrived = move(place, torch.distributions.Categorical(logits=model(seen(place))[0]).sample())
        total, away = total + away.mean().item() / 40, away * (~arrived).float()
    return total


@torch.no_grad()
def play(place):
    """What the walkers saw and did, with advantages and returns."""
    kept = []
    for _ in range(HORIZON):
        scores, value = model(seen(place))
        choice = torch.distributions.Categorical(logits=scores)
        action = choice.sample()
        new, arrived = move(place, action)
        kept.append((place, action, choice.log_prob(action), value, torch.where(arrived, 5.0, -0.1), arrived.float()))
        place = torch.where(arrived[:, None], fields[torch.randint(len(fields), (WALKERS,))], new)
    places, actions, log_probabilities, values, rewards, ends = (torch.stack(part) for part in zip(*kept, strict=True))
    following, advantage, advantages = model(seen(place))[1], torch.zeros(WALKERS), []
    for time in reversed(range(HORIZON)):
        surprise = rewards[time] + DISCOUNT * (1 - ends[time]) * following - values[time]
        advantage = surprise + DISCOUNT * SMOOTHING * (1 - ends[time]) * advantage
        following = values[time]
        advantages.insert(0, advantage)
    advantages = torch.stack(advantages)
    flat = (places.flatten(0, 1), *(part.flatten() for part in (actions, log_probabilities, advantages)))
    return place, *flat, (advantages + values).flatten()


place, step = fields[torch.randint(len(fields), (WALKERS,))], 0
print("constant 0.9500")  # the share of a walker that tosses a coin
for _ in range(ROUNDS):
    place, places, actions, before, advantages, returns = play(place)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(places)).split(BATCH):
            model.train()
            advantage = advantages[rows]
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            scores, value = model(seen(places[rows]))
            choice = torch.distributions.Categorical(logits=scores)
            ratio = (choice.log_prob(actions[rows]) - before[rows]).exp()
            policy_loss = -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
            value_loss = F.mse_loss(value, returns[rows])
            loss = policy_loss + 0.5 * value_loss - ENTROPY * choice.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
            optimizer.step()
            if step % 20 == 0:
                print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
            step += 1
print(f"final validation {evaluate():.4f}")
