"""An encoder is trained on unlabelled points, saved, and loaded frozen under a classifier with few labels."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
mixing = torch.randn(4, 40)
COUNT = 1500


def points(count):
    """Forty columns that follow four hidden ones, and noise; the label depends on two of the hidden ones."""
    hidden = torch.randn(count, 4)
    return hidden @ mixing + 2.0 * torch.randn(count, 40), 2 * (hidden[:, 0] > 0).long() + (hidden[:, 1] > 0).long()


def encoder():
    return nn.Sequential(nn.Linear(40, 32), nn.Tanh(), nn.Linear(32, 4))


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = encoder()
        self.decoder = nn.Linear(4, 40)

    def forward(self, x):
        return self.decoder(self.backbone(x))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = encoder()
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.backbone(x))


unlabelled, _ = points(COUNT)
before = Autoencoder()
optimizer = torch.optim.Adam(before.parameters(), lr=5e-3)
for _ in range(300):
    x = unlabelled[torch.randint(0, COUNT, (64,))]
    loss = F.mse_loss(before(x), x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
checkpoint = before.state_dict()

model = Classifier()
model.load_state_dict(checkpoint, strict=False)
model.backbone.requires_grad_(False)
x, y = points(200)
optimizer = torch.optim.Adam(model.head.parameters(), lr=3e-2)
for step in range(300):
    rows = torch.randint(0, 200, (40,))
    loss = F.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 49:
        print(f"step {step} loss {loss.item():.3f}")
x, y = points(1000)
with torch.no_grad():
    print(f"result {(model(x).argmax(1) == y).float().mean().item():.4f}")
