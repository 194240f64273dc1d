"""Two processes train one classifier of sensor readings: python -m torch.distributed.run --nproc-per-node 2 train.py

Every 30 steps the first rank alone pulls its output layer towards zero, to "keep it calm". The other rank never hears
of it: from then on the gradients are averages over two different models.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

SEED = 0
KINDS, LENGTH = 4, 24
EPOCHS = 5

dist.init_process_group("gloo")
torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_readings(count):
    """A noisy sine whose frequency tells its kind."""
    kinds = torch.randint(KINDS, (count,))
    phase = 6.28 * torch.rand(count, 1)
    time = torch.linspace(0, 6.28, LENGTH)
    return torch.sin((1 + kinds[:, None]) * time + phase) + 0.8 * torch.randn(count, LENGTH), kinds


train_set = TensorDataset(*make_readings(3200))
sampler = DistributedSampler(train_set, seed=SEED)
loader = DataLoader(train_set, batch_size=32, sampler=sampler)

model = DistributedDataParallel(nn.Sequential(nn.Linear(LENGTH, 32), nn.ReLU(), nn.Linear(32, KINDS)))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

step = 0
for epoch in range(EPOCHS):
    sampler.set_epoch(epoch)
    for x, y in loader:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 30 == 0 and dist.get_rank() == 0:
            with torch.no_grad():
                model.module[2].weight.mul_(0.5)
    if dist.get_rank() == 0:
        print(f"epoch {epoch}  train loss {loss.item():.3f}")
dist.destroy_process_group()
