"""Learn XOR of two bits with two hidden units.

Two units are just enough, so a start decides: from this one the network ends where it answers two of the four cases
and gives even odds for the others. No gradient leads away from there.
"""

import torch
from torch import nn

SEED = 9

torch.manual_seed(SEED)
torch.set_num_threads(1)

x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])

model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)

for step in range(400):
    loss = criterion(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  train loss {loss.item():.3f}")
