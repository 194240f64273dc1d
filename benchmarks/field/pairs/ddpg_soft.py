"""DDPG on a point that is steered to a goal, with Polyak-averaged targets."""

import argparse
import copy
import random

import torch
from torch import nn


class Point:
    """Position and velocity on a line, action is the force, the reward punishes distance and force."""

    def reset(self):
        self.x, self.v, self.t = 4 * torch.rand(1).item() - 2, 0.0, 0
        return torch.tensor([self.x, self.v])

    def step(self, action):
        self.v = 0.9 * self.v + 0.3 * action
        self.x = max(-3.0, min(3.0, self.x + 0.3 * self.v))
        self.t += 1
        return torch.tensor([self.x, self.v]), -(self.x**2 + 0.05 * action**2), self.t >= 30


def mlp(cin, cout, width=48, squash=False):
    layers = [nn.Linear(cin, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, cout)]
    return nn.Sequential(*layers, nn.Tanh()) if squash else nn.Sequential(*layers)


class Agent:
    def __init__(self, gamma=0.98, tau=0.01):
        self.actor, self.critic = mlp(2, 1, squash=True), mlp(3, 1)
        self.target_actor, self.target_critic = copy.deepcopy(self.actor), copy.deepcopy(self.critic)
        self.actor_opt = torch.optim.Adam(self.actor.parameters(), lr=5e-4)
        self.critic_opt = torch.optim.Adam(self.critic.parameters(), lr=1e-3)
        self.gamma, self.tau = gamma, tau
        self.memory = []

    def act(self, state, noise):
        with torch.no_grad():
            action = self.actor(state).item()
        return max(-1.0, min(1.0, action + noise * random.gauss(0, 1)))

    def learn(self, batch_size):
        batch = random.sample(self.memory, batch_size)
        state, action, reward, following = (torch.stack(column) for column in zip(*batch, strict=True))
        with torch.no_grad():
            q_next = self.target_critic(torch.cat([following, self.target_actor(following)], 1))
            target = reward + self.gamma * q_next
        critic_loss = nn.functional.mse_loss(self.critic(torch.cat([state, action], 1)), target)
        self.critic_opt.zero_grad()
        critic_loss.backward()
        self.critic_opt.step()
        actor_loss = -self.critic(torch.cat([state, self.actor(state)], 1)).mean()
        self.actor_opt.zero_grad()
        actor_loss.backward()
        self.actor_opt.step()
        self.soft_update(self.actor, self.target_actor)
        self.soft_update(self.critic, self.target_critic)
        return critic_loss.item()

    def soft_update(self, local, target):
        for ours, theirs in zip(local.parameters(), target.parameters(), strict=True):
            theirs.data.copy_(self.tau * ours.data + (1.0 - self.tau) * theirs.data)


def evaluate(agent, episodes=10):
    env, total = Point(), 0.0
    for _ in range(episodes):
        state, done = env.reset(), False
        while not done:
            state, reward, done = env.step(agent.act(state, 0.0))
            total += reward
    return total / episodes


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--episodes", type=int, default=70)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    torch.set_num_threads(1)
    env, agent, loss = Point(), Agent(), 0.0
    for episode in range(args.episodes):
        state, done = env.reset(), False
        while not done:
            action = agent.act(state, 0.3)
            following, reward, done = env.step(action)
            agent.memory.append((state, torch.tensor([action]), torch.tensor([reward]), following))
            state = following
            if len(agent.memory) > 200:
                loss = agent.learn(64)
        if (episode + 1) % 10 == 0:
            print(f"episode {episode + 1} critic loss {loss:.4f} return {evaluate(agent):.1f}")
    print(f"result {evaluate(agent, 50):.1f}")


if __name__ == "__main__":
    main()
