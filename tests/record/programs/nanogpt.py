"""A language model as nanoGPT trains it: a disabled GradScaler, micro-steps, losses estimated on both splits."""

import contextlib
import math

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
EXPECTED = {"steps": 0, "losses": [], "evaluations": {"train": [], "validation": []}, "classes": 17}
text = torch.randint(0, 17, (2000,))
data = {"train": text[:1800], "val": text[1800:]}


def get_batch(split):
    ix = torch.randint(len(data[split]) - 9, (8,))
    x = torch.stack([data[split][i : i + 8] for i in ix])
    y = torch.stack([data[split][i + 1 : i + 9] for i in ix])
    return x, y


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(17, 16)
        self.lm_head = nn.Linear(16, 17, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, idx, targets=None):
        logits = self.lm_head(torch.tanh(self.wte(idx)))
        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)
        return logits, loss


model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
scaler = torch.amp.GradScaler("cpu", enabled=False)
ctx = contextlib.nullcontext()


@torch.no_grad()
def estimate_loss():
    out = {}
    model.eval()
    for split in ["train", "val"]:
        losses = torch.zeros(3)
        for k in range(3):
            X, Y = get_batch(split)
            with ctx:
                _, loss = model(X, Y)
            losses[k] = loss.item()
        out[split] = losses.mean()
    model.train()
    return out


X, Y = get_batch("train")
for iter_num in range(21):
    lr = 1e-3 * 0.5 * (1 + math.cos(math.pi * iter_num / 20))
    for group in optimizer.param_groups:
        group["lr"] = lr
    if iter_num % 10 == 0:
        losses = estimate_loss()
        EXPECTED["evaluations"]["train"].append(losses["train"].item())
        EXPECTED["evaluations"]["validation"].append(losses["val"].item())
    total = 0.0
    for _ in range(4):
        with ctx:
            _, loss = model(X, Y)
            loss = loss / 4
        X, Y = get_batch("train")
        total += loss.item()
        scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    EXPECTED["losses"].append(total)
    EXPECTED["steps"] += 1
