"""A diffusion trainer: noise prediction, accumulation inside the step, an exponential moving average of the weights."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(7)
EXPECTED = {"steps": 0, "losses": [], "evaluations": {}}
model = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1))
ema = copy.deepcopy(model).eval().requires_grad_(False)
opt = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.99))
alphas = torch.linspace(0.99, 0.1, 50)
for _ in range(12):
    total_loss = 0.0
    for _ in range(2):
        x = torch.randn(4, 1, 8, 8)
        t = torch.randint(0, 50, (4,))
        noise = torch.randn_like(x)
        a = alphas[t].view(-1, 1, 1, 1)
        noisy = a.sqrt() * x + (1 - a).sqrt() * noise
        out = model(torch.cat([noisy, (t.view(-1, 1, 1, 1) / 50).expand_as(x)], 1))
        loss = F.mse_loss(out, noise, reduction="none").flatten(1).mean(1).mean() / 2
        total_loss += loss.item()
        loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    opt.zero_grad()
    with torch.no_grad():
        for slow, fast in zip(ema.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 0.1)
    EXPECTED["steps"] += 1
    EXPECTED["losses"].append(total_loss)
