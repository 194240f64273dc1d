"""A robot in a yard of 6 x 6 fields learns the way out: double DQN, replay, a target network that follows slowly."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 500
BATCH = 64
WIDTH = 64
SIDE = 6
ROBOTS = 8
MEMORY = 4000
DISCOUNT = 0.95
FOLLOW = 0.02
LEARNING_RATE = 2e-3

torch.manual_seed(SEED)
torch.set_num_threads(1)

moves = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])
walls = torch.tensor([[1, 1], [1, 2], [3, 3], [3, 4], [4, 1]])
goal = torch.tensor([SIDE - 1, SIDE - 1])
fields = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))
free = fields[~(fields[:, None] == walls).all(dim=2).any(dim=1)]


def seen(place):
    """What a robot sees of its place: its row and its column."""
    return torch.cat([F.one_hot(place[:, 0], SIDE), F.one_hot(place[:, 1], SIDE)], dim=1).float()


def move(place, action):
    """New places, and who is out; a wall holds a robot back, and one move in ten slips."""
    action = torch.where(torch.rand(len(action)) < 0.1, torch.randint(4, action.shape), action)
    new = (place + moves[action]).clamp(0, SIDE - 1)
    blocked = (new[:, None] == walls).all(dim=2).any(dim=1)
    new = torch.where(blocked[:, None], place, new)
    return new, (new == goal).all(dim=1)


def network():
    return nn.Sequential(
        nn.Linear(2 * SIDE, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, 4),
    )


model, target = network(), network()
target.load_state_dict(model.state_dict())
target.requires_grad_(False)
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


@torch.no_grad()
def evaluate():
    """Mean share of 40 moves that greedy robots need from every field."""
    model.eval()
    place, away, total = free.clone(), torch.ones(len(free)), 0.0
    for _ in range(40):
        place, out = move(place, model(seen(place)).argmax(dim=1))
        total, away = total + away.mean().item() / 40, away * (~out).float()
    return total


starts = free[torch.randint(len(free), (MEMORY,))]
actions = torch.randint(4, (MEMORY,))
ends, outs = move(starts, actions)
place, write = free[torch.randint(len(free), (ROBOTS,))], 0

print("constant 0.9600")  # the share of a robot that always moves the same way
for step in range(STEPS):
    model.train()
    with torch.no_grad():
        explores = torch.rand(ROBOTS) < max(0.1, 1 - step / 300)
        action = torch.where(explores, torch.randint(4, (ROBOTS,)), model(seen(place)).argmax(dim=1))
        new, out = move(place, action)
        slots = (torch.arange(ROBOTS) + write) % MEMORY
        starts[slots], actions[slots], ends[slots], outs[slots] = place, action, new, out
        write += ROBOTS
        place = torch.where(out[:, None], free[torch.randint(len(free), (ROBOTS,))], new)
    rows = torch.randint(MEMORY, (BATCH,))
    with torch.no_grad():
        after = seen(ends[rows])
        best = model(after).argmax(dim=1, keepdim=True)
        future = target(after).gather(1, best).squeeze(1)
        y = torch.where(outs[rows], 10.0, -0.5 + DISCOUNT * future)
    output = model(seen(starts[rows])).gather(1, actions[rows, None]).squeeze(1)
    loss = F.smooth_l1_loss(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for slow, fast in zip(target.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, FOLLOW)
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
