"""A network that was trained for one machine is adapted to another by low-rank updates of its frozen layers."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
SENSORS, FAULTS = 16, 5


class Machine:
    """Each fault moves the sensors in its own direction; a machine has gains and offsets of its own."""

    def __init__(self, signatures):
        self.signatures = signatures
        self.gain = torch.eye(SENSORS) + 0.35 * torch.randn(SENSORS, SENSORS)

    def measure(self, count):
        fault = torch.randint(0, FAULTS, (count,))
        clean = self.signatures[fault] * (0.5 + torch.rand(count, 1))
        return (clean + 0.7 * torch.randn(count, SENSORS)) @ self.gain, fault


class LoRALinear(nn.Module):
    """A frozen layer and an update of low rank, which is zero at first."""

    def __init__(self, frozen, rank=4, alpha=8):
        super().__init__()
        self.frozen, self.scale = frozen, alpha / rank
        self.lora_a = nn.Parameter(torch.empty(rank, frozen.in_features))
        self.lora_b = nn.Parameter(torch.empty(frozen.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=5**0.5)
        nn.init.zeros_(self.lora_b)

    def forward(self, x):
        return self.frozen(x) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)


def mlp():
    return nn.Sequential(
        nn.Linear(SENSORS, 64),
        nn.GELU(),
        nn.Linear(64, 64),
        nn.GELU(),
        nn.Linear(64, 64),
        nn.GELU(),
        nn.Linear(64, FAULTS),
    )


def train(model, parameters, machine, steps, lr):
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    model.train()
    for step in range(steps):
        x, fault = machine.measure(64)
        loss = F.cross_entropy(model(x), fault)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.3f} accuracy {accuracy(model, machine):.3f}")


def accuracy(model, machine):
    with torch.no_grad():
        x, fault = machine.measure(1000)
        return (model(x).argmax(1) == fault).float().mean().item()


signatures = torch.randn(FAULTS, SENSORS)
first, second = Machine(signatures), Machine(signatures)
model = mlp()
train(model, model.parameters(), first, 400, 2e-3)
model.requires_grad_(False)
for index in (0, 2, 4):
    model[index] = LoRALinear(model[index])
train(model, [p for p in model.parameters() if p.requires_grad], second, 800, 3e-3)
print(f"result {accuracy(model, second):.3f}")
