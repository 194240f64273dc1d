"""Mark land, water and cloud on small aerial pictures, pixel by pixel.

The network gives (batch, classes, height, width), and a view makes rows of three numbers of it for the loss. A view
keeps the order in memory: each row holds three neighbouring pixels of one class.
"""

import torch
from torch import nn
from torch.nn import functional

SEED = 0
CLASSES = 3
SIZE = 12
BATCH = 16

torch.manual_seed(SEED)
torch.set_num_threads(1)

tones = torch.tensor([[0.2, 0.7], [0.9, 0.1], [0.5, 0.5]])  # two channels of each kind of ground


def make_pictures(count):
    """Pictures of patches, four pixels wide, and the kind of each pixel."""
    kinds = torch.randint(CLASSES, (count, SIZE // 4, SIZE // 4))
    kinds = kinds.repeat_interleave(4, 1).repeat_interleave(4, 2)
    return tones[kinds].permute(0, 3, 1, 2).contiguous() + 0.1 * torch.randn(count, 2, SIZE, SIZE), kinds


pictures, kinds = make_pictures(500)
model = nn.Sequential(nn.Conv2d(2, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, CLASSES, 3, padding=1))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for step in range(250):
    batch = torch.randint(len(pictures), (BATCH,))
    logits = model(pictures[batch]).view(-1, CLASSES)
    loss = functional.cross_entropy(logits, kinds[batch].view(-1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:4d}  loss {loss.item():.3f}")
