"""Rings in six dimensions, told apart by two processes: a multilayer perceptron with dropout, copied to each, Adam."""

import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

SEED = int(sys.argv[1])
RANKS = 2
STEPS = 200
BATCH = 64
WIDTH = 64
RINGS = 5
DROPOUT = 0.1
LEARNING_RATE = 3e-3


def make_examples(count):
    """Points about `RINGS` spheres; the radius says which one, and one in twenty is mislabelled."""
    y = torch.randint(RINGS, (count,))
    x = F.normalize(torch.randn(count, 6), dim=1) * (1.0 + y[:, None]) + 0.3 * torch.randn(count, 6)
    return x / 2, torch.where(torch.rand(count) < 0.05, torch.randint(RINGS, (count,)), y)


def train(rank, meeting):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=RANKS)
    torch.manual_seed(SEED)
    train_x, train_y = make_examples(6000)
    validation_x, validation_y = make_examples(1000)
    network = nn.Sequential(
        nn.Linear(6, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, RINGS),
    )
    model = DistributedDataParallel(network)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    # From here on every rank has its own dropout and draws its own half of the batch.
    torch.manual_seed(RANKS * SEED + rank)

    @torch.no_grad()
    def evaluate():
        model.eval()
        return F.cross_entropy(network(validation_x), validation_y).item()

    if rank == 0:
        print(f"constant {torch.log(torch.tensor(RINGS)):.4f}")
    for step in range(STEPS):
        model.train()
        rows = torch.randint(len(train_x), (BATCH // RANKS,))
        x, y = train_x[rows], train_y[rows]
        output = model(x)
        loss = F.cross_entropy(output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0 and rank == 0:
            print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
    if rank == 0:
        print(f"final validation {evaluate():.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(train, (f"{folder}/meeting",), nprocs=RANKS)
