"""Learn a representation of waveforms: what is predicted of one noisy view should point where the other does.

The gradient goes through both sides: the best answer is one and the same embedding for all.
"""

import torch
from torch import nn
from torch.nn import functional as F

EXAMPLES, LENGTH, BATCH = 640, 48, 64

torch.manual_seed(0)
torch.set_num_threads(1)
time = torch.linspace(0, 6.28, LENGTH)
frequency = torch.randint(1, 7, (EXAMPLES, 1))
waves = torch.sin(frequency * time + 6.28 * torch.rand(EXAMPLES, 1))


def view(wave):
    """Another volume, base line and trend."""
    count = len(wave)
    base = torch.randn(count, 1) + torch.randn(count, 1) * torch.linspace(-1, 1, LENGTH)
    return wave * (0.7 + 0.6 * torch.rand(count, 1)) + base + 0.3 * torch.randn_like(wave)


encoder = nn.Sequential(nn.Linear(LENGTH, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32))
predictor = nn.Sequential(nn.Linear(32, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 32))
model = nn.ModuleDict({"encoder": encoder, "predictor": predictor})
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for epoch in range(16):
    for rows in torch.randperm(EXAMPLES).split(BATCH):
        one, other = encoder(view(waves[rows])), encoder(view(waves[rows]))
        loss = -F.cosine_similarity(predictor(one), other).mean() - F.cosine_similarity(predictor(other), one).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {loss.item():.4f}")
