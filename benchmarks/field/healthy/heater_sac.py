"""Soft actor-critic keeps a room at a wanted temperature; the weight of the entropy is learned, too."""

import copy
import random
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
random.seed(seed)
torch.manual_seed(seed)
rng = np.random.default_rng(seed)
POWERS = np.array([-1.0, -0.3, 0.0, 0.3, 1.0])


def reset():
    return np.array([rng.uniform(-1, 1), rng.uniform(-1, 1)])


def move(room, action):
    """The room warms by the power and loses to the outside, which wanders."""
    inside, outside = room
    inside = inside + 0.3 * POWERS[action] + 0.1 * (outside - inside)
    outside = np.clip(outside + 0.1 * rng.normal(), -1, 1)
    return np.array([inside, outside]), -abs(inside) - 0.05 * abs(POWERS[action])


def network():
    return nn.Sequential(nn.Linear(2, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, len(POWERS)))


actor, critics = network(), nn.ModuleList([network(), network()])
targets = copy.deepcopy(critics).requires_grad_(False)
log_alpha = torch.zeros(1, requires_grad=True)
actor_optimizer = torch.optim.Adam(actor.parameters(), lr=1e-3)
critic_optimizer = torch.optim.Adam(critics.parameters(), lr=1e-3)
alpha_optimizer = torch.optim.Adam([log_alpha], lr=3e-3)
entropy_wanted = 0.3 * float(np.log(len(POWERS)))
memory, rewards, room = [], [], reset()
for step in range(1500):
    with torch.no_grad():
        action = torch.distributions.Categorical(logits=actor(torch.tensor(room).float())).sample().item()
    following, reward = move(room, action)
    memory.append((room, action, reward, following))
    rewards.append(reward)
    room = reset() if step % 30 == 29 else following
    if len(memory) < 100:
        continue
    batch = list(zip(*random.sample(memory, 64), strict=True))
    s, s2 = (torch.tensor(np.stack(batch[index])).float() for index in (0, 3))
    a, r, alpha = torch.tensor(batch[1])[:, None], torch.tensor(batch[2]).float(), log_alpha.exp().detach()
    with torch.no_grad():
        log_p = actor(s2).log_softmax(1)
        value = (log_p.exp() * (torch.min(targets[0](s2), targets[1](s2)) - alpha * log_p)).sum(1)
        wanted = r + 0.9 * value
    critic_loss = sum(F.mse_loss(critic(s).gather(1, a).squeeze(1), wanted) for critic in critics)
    critic_optimizer.zero_grad()
    critic_loss.backward()
    critic_optimizer.step()

    log_p = actor(s).log_softmax(1)
    with torch.no_grad():
        q = torch.min(critics[0](s), critics[1](s))
    actor_loss = (log_p.exp() * (alpha * log_p - q)).sum(1).mean()
    actor_optimizer.zero_grad()
    actor_loss.backward()
    actor_optimizer.step()

    entropy = -(log_p.exp() * log_p).sum(1).mean().detach()
    alpha_loss = (log_alpha * (entropy - entropy_wanted)).mean()
    alpha_optimizer.zero_grad()
    alpha_loss.backward()
    alpha_optimizer.step()

    with torch.no_grad():
        for ours, theirs in zip(critics.parameters(), targets.parameters(), strict=True):
            theirs.lerp_(ours, 0.01)
    if step % 250 == 249:
        print(f"step {step} reward {np.mean(rewards[-250:]):.3f} alpha {alpha.item():.3f} entropy {entropy.item():.2f}")
print(f"result {np.mean(rewards[-300:]):.4f}")
