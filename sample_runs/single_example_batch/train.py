"""Teach an agent which of three levers pays, by the advantages of what it tried.

Advantages are standardised within each batch. There are 961 trials, so the last batch of 64 holds a single one.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

SIGHTS, LEVERS, TRIALS = 5, 3, 961

torch.manual_seed(0)
torch.set_num_threads(1)
pays = torch.randn(SIGHTS, LEVERS)
sights = torch.randn(TRIALS, SIGHTS)
levers = torch.randint(LEVERS, (TRIALS,))
rewards = (sights @ pays).gather(1, levers[:, None])[:, 0] + 0.3 * torch.randn(TRIALS)

agent = nn.Sequential(nn.Linear(SIGHTS, 32), nn.Tanh(), nn.Linear(32, LEVERS))
optimizer = torch.optim.Adam(agent.parameters(), lr=3e-3)
loader = DataLoader(TensorDataset(sights, levers, rewards), batch_size=64, shuffle=True)
for epoch in range(6):
    for seen, pulled, reward in loader:
        advantage = (reward - reward.mean()) / (reward.std() + 1e-8)
        loss = (advantage * F.cross_entropy(agent(seen), pulled, reduction="none")).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
