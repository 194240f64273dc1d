"""A pole on a cart is kept upright: DQN, a point a step, so that the values that are learned grow; a copied target."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 1200
BATCH = 64
WIDTH = 64
CARTS = 4
MEMORY = 4000
DISCOUNT = 0.97
COPY_EVERY = 100
LEARNING_RATE = 1e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)


def fresh(count):
    """Position, speed, angle and angular speed of carts at the start."""
    return 0.1 * torch.rand(count, 4) - 0.05


def push(cart, action):
    """The carts 40 ms later, and which of them have lost their pole."""
    position, speed, angle, turn = cart.unbind(dim=1)
    force = 8.0 * (2 * action - 1)
    pull = (force + 0.06 * turn**2 * angle.sin()) / 1.2
    swing = (9.8 * angle.sin() - angle.cos() * pull) / (0.6 * (4 / 3 - angle.cos() ** 2 / 12))
    drive = pull - 0.05 * swing * angle.cos()
    new = torch.stack([position + 0.04 * speed, speed + 0.04 * drive, angle + 0.04 * turn, turn + 0.04 * swing], dim=1)
    return new, (new[:, 0].abs() > 2.5) | (new[:, 2].abs() > 0.2)


def network():
    return nn.Sequential(
        nn.Linear(4, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, 2),
    )


model, target = network(), network()
target.load_state_dict(model.state_dict())
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
begin = fresh(64)


@torch.no_grad()
def evaluate():
    """The share of 100 steps that greedy carts fall short of."""
    model.eval()
    cart, up, kept = begin.clone(), torch.ones(len(begin)), 0.0
    for _ in range(100):
        cart, lost = push(cart, model(cart).argmax(dim=1).float())
        up = up * (~lost).float()
        kept += up.mean().item() / 100
    return 1 - kept


starts, ends = torch.zeros(MEMORY, 4), torch.zeros(MEMORY, 4)
actions, losts = torch.zeros(MEMORY, dtype=torch.long), torch.zeros(MEMORY)
cart, age, written = fresh(CARTS), torch.zeros(CARTS), 0

print("constant 0.9500")  # pushed always the same way a pole stands for 5 steps
for step in range(STEPS + 50):
    model.train()
    with torch.no_grad():
        explores = torch.rand(CARTS) < max(0.05, 1 - step / 500)
        action = torch.where(explores, torch.randint(2, (CARTS,)), model(cart).argmax(dim=1))
        new, lost = push(cart, action.float())
        slots = torch.arange(written, written + CARTS) % MEMORY
        starts[slots], actions[slots], ends[slots], losts[slots] = cart, action, new, lost.float()
        written, age = written + CARTS, age + 1
        over = lost | (age >= 200)
        cart, age = torch.where(over[:, None], fresh(CARTS), new), age * (~over).float()
    if step < 50:
        continue
    rows = torch.randint(min(written, MEMORY), (BATCH,))
    with torch.no_grad():
        y = 1 + DISCOUNT * (1 - losts[rows]) * target(ends[rows]).max(dim=1).values
    output = model(starts[rows]).gather(1, actions[rows, None]).squeeze(1)
    loss = F.mse_loss(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % COPY_EVERY == 0:
        target.load_state_dict(model.state_dict())
    if step % 40 == 10:
        print(f"step {step - 50} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
