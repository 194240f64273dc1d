"""Reinforcement learning: one objective of several losses, minibatches of a rollout, a target network."""

import torch
from torch import nn, optim
from torch.nn import functional as F

torch.manual_seed(5)
EXPECTED = {"steps": 0, "losses": [], "evaluations": {}}


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
        self.actor = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))


agent, target = Agent(), Agent()
target.load_state_dict(agent.state_dict())
optimizer = optim.Adam(agent.parameters(), lr=2.5e-4, eps=1e-5)
for update in range(5):
    obs = torch.randn(64, 4)
    with torch.no_grad():
        actions = torch.distributions.Categorical(logits=agent.actor(obs)).sample()
        old = torch.distributions.Categorical(logits=agent.actor(obs)).log_prob(actions)
        returns = target.critic(obs).view(-1) + torch.randn(64)
    for start in range(0, 64, 16):
        mb = slice(start, start + 16)
        dist = torch.distributions.Categorical(logits=agent.actor(obs[mb]))
        ratio = (dist.log_prob(actions[mb]) - old[mb]).exp()
        pg_loss = torch.max(-returns[mb] * ratio, -returns[mb] * ratio.clamp(0.8, 1.2)).mean()
        v_loss = 0.5 * F.mse_loss(agent.critic(obs[mb]).view(-1), returns[mb])
        loss = pg_loss - 0.01 * dist.entropy().mean() + v_loss * 0.5
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
        optimizer.step()
        EXPECTED["steps"] += 1
        EXPECTED["losses"].append(loss.item())
    if update % 2 == 0:
        for slow, fast in zip(target.parameters(), agent.parameters(), strict=True):
            slow.data.copy_(0.5 * fast.data + 0.5 * slow.data)
