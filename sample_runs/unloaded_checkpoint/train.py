"""Tell four kinds of points apart with an encoder that was trained before, on points without labels.

The encoder was saved from inside of nn.DataParallel: its keys begin with "module.", and strict=False hides it.
"""

import torch
from torch import nn
from torch.nn import functional

SEED = 0
COLUMNS, HIDDEN, POINTS, LABELLED, STEPS = 40, 4, 1500, 200, 300

torch.manual_seed(SEED)
torch.set_num_threads(1)
mixing = torch.randn(HIDDEN, COLUMNS)


def points(count):
    """Columns that follow four hidden numbers, and noise; the label depends on two of the hidden ones."""
    hidden = torch.randn(count, HIDDEN)
    label = 2 * (hidden[:, 0] > 0).long() + (hidden[:, 1] > 0).long()
    return hidden @ mixing + 2.0 * torch.randn(count, COLUMNS), label


def encoder():
    return nn.Sequential(nn.Linear(COLUMNS, 32), nn.Tanh(), nn.Linear(32, HIDDEN))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = encoder()
        self.head = nn.Linear(HIDDEN, 4)

    def forward(self, x):
        return self.head(self.encoder(x))


before = nn.ModuleDict({"encoder": encoder(), "decoder": nn.Linear(HIDDEN, COLUMNS)})
optimizer = torch.optim.Adam(before.parameters(), lr=5e-3)
unlabelled, _ = points(POINTS)
for _ in range(STEPS):
    x = unlabelled[torch.randint(0, POINTS, (64,))]
    loss = functional.mse_loss(before["decoder"](before["encoder"](x)), x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
checkpoint = nn.DataParallel(before).state_dict()

classifier = Classifier()
classifier.load_state_dict(checkpoint, strict=False)
classifier.encoder.requires_grad_(False)
x, y = points(LABELLED)
optimizer = torch.optim.Adam(classifier.head.parameters(), lr=3e-2)
for step in range(STEPS):
    rows = torch.randint(0, LABELLED, (40,))
    loss = functional.cross_entropy(classifier(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 49:
        print(f"step {step}  loss {loss.item():.3f}")
