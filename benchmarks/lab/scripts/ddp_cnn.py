"""Which way a grating is turned, by two processes: convolutions with batch normalisation, a DistributedSampler, SGD."""

import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

SEED = int(sys.argv[1])
RANKS = 2
EPOCHS = 3
BATCH = 32  # of each rank
DIRECTIONS = 6
SIZE = 12
NOISE = 1.5
LEARNING_RATE = 0.05
MAX_NORM = 2.0


def make_gratings(count):
    """Noisy sine waves of any phase and of two wavelengths."""
    labels = torch.randint(DIRECTIONS, (count,))
    y, x = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    angle = (torch.pi / DIRECTIONS * labels)[:, None, None]
    wavelength = 3 + 2 * torch.randint(2, (count, 1, 1))
    phase = 2 * torch.pi * (x * angle.cos() + y * angle.sin()) / wavelength
    pictures = torch.sin(phase + 2 * torch.pi * torch.rand(count, 1, 1))
    return (pictures + NOISE * torch.randn(pictures.shape))[:, None], labels


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        )
        self.head = nn.Linear(32, DIRECTIONS)

    def forward(self, x):
        return self.head(self.convolutions(x).mean(dim=(2, 3)))


def train(rank, meeting):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=RANKS)
    torch.manual_seed(SEED)
    train_set = TensorDataset(*make_gratings(4000))
    validation_x, validation_y = make_gratings(400)
    sampler = DistributedSampler(train_set, num_replicas=RANKS, rank=rank, seed=SEED)
    loader = DataLoader(train_set, batch_size=BATCH, sampler=sampler, drop_last=True)
    model = DistributedDataParallel(Network())
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)

    @torch.no_grad()
    def evaluate():
        model.eval()
        return F.cross_entropy(model.module(validation_x), validation_y).item()

    if rank == 0:
        print(f"constant {torch.log(torch.tensor(DIRECTIONS)):.4f}")
    step = 0
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        for x, y in loader:
            model.train()
            output = model(x)
            loss = F.cross_entropy(output, y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
            optimizer.step()
            if step % 20 == 0 and rank == 0:
                print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
            step += 1
        scheduler.step()
    if rank == 0:
        print(f"final validation {evaluate():.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(train, (f"{folder}/meeting",), nprocs=RANKS)
