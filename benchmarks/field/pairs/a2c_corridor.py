"""Advantage actor-critic in a noisy corridor: walk right to the goal before the time is up."""

import argparse

import torch
from torch import nn
from torch.distributions import Categorical


class Corridor:
    """Sixteen parallel walkers; reward 1 at the right end, none at the left, wind pushes back at random."""

    def __init__(self, count=16, length=10):
        self.count, self.length = count, length
        self.position, self.clock = torch.full((count,), 3), torch.zeros(count, dtype=torch.long)

    def observe(self):
        place = nn.functional.one_hot(self.position, self.length).float()
        return torch.cat([place, self.clock[:, None] / 30.0], 1)

    def step(self, action):
        wind = torch.rand(self.count) < 0.15
        move = torch.where(wind, torch.tensor(-1), 2 * action - 1)
        self.position = (self.position + move).clamp(0, self.length - 1)
        self.clock = self.clock + 1
        won, lost = self.position == self.length - 1, self.position == 0
        reward = won.float()
        done = won | lost | (self.clock >= 30)
        self.position = torch.where(done, torch.tensor(3), self.position)
        self.clock = torch.where(done, torch.tensor(0), self.clock)
        return self.observe(), reward, done.float(), won


class ActorCritic(nn.Module):
    def __init__(self, inputs, actions, hidden=64):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, actions))
        self.critic = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, state):
        return Categorical(logits=self.actor(state)), self.critic(state).squeeze(-1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--updates", type=int, default=700)
    parser.add_argument("--horizon", type=int, default=5)
    parser.add_argument("--gamma", type=float, default=0.97)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    env = Corridor()
    model = ActorCritic(11, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    state = env.observe()
    finished, won_total, explained = 0.0, 0.0, 0.0
    for update in range(args.updates):
        log_probs, values, rewards, masks, entropies = [], [], [], [], []
        for _ in range(args.horizon):
            policy, value = model(state)
            action = policy.sample()
            state, reward, done, won = env.step(action)
            log_probs.append(policy.log_prob(action))
            values.append(value)
            rewards.append(reward)
            masks.append(1 - done)
            entropies.append(policy.entropy())
            if update > args.updates * 3 // 4:
                finished += done.sum().item()
                won_total += won.sum().item()
        with torch.no_grad():
            ret = model(state)[1]
        returns = []
        for reward, mask in zip(reversed(rewards), reversed(masks), strict=True):
            ret = reward + args.gamma * ret * mask
            returns.insert(0, ret)
        returns, values = torch.stack(returns), torch.stack(values)
        advantage = returns - values.detach()
        actor_loss = -(torch.stack(log_probs) * advantage).mean()
        critic_loss = (returns - values).pow(2).mean()
        loss = actor_loss + 0.5 * critic_loss - 0.02 * torch.stack(entropies).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        explained = (1 - (returns - values).var() / returns.var().clamp_min(1e-6)).item()
        if (update + 1) % 100 == 0:
            print(f"{update + 1} pi {actor_loss.item():.3f} v {critic_loss.item():.3f} explains {explained:.2f}")
    print(f"explained_variance {explained:.2f}")
    print(f"result {won_total / max(finished, 1):.3f}")


if __name__ == "__main__":
    main()
