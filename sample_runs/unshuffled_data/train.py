"""Tell four kinds of rock from their spectra, which were listed folder by folder.

The list has all basalts first, then all granites, and so on, and the loader keeps that order: each batch holds one
kind. The batch normalisation sees one kind of spectrum at a time, and all of them when it is evaluated.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
KINDS, BANDS = 4, 32

torch.manual_seed(SEED)
torch.set_num_threads(1)

typical = torch.randn(KINDS, BANDS)


def make_spectra(count):
    """Noisy spectra, ordered by their kind."""
    kinds = torch.arange(KINDS).repeat_interleave(count // KINDS)
    return TensorDataset(typical[kinds] + 1.5 * torch.randn(len(kinds), BANDS), kinds)


train_loader = DataLoader(make_spectra(1600), batch_size=32)
val_loader = DataLoader(make_spectra(400), batch_size=100)

model = nn.Sequential(nn.Linear(BANDS, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, KINDS))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

for epoch in range(8):
    model.train()
    for spectra, kinds in train_loader:
        loss = criterion(model(spectra), kinds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        val_loss = sum(criterion(model(spectra), kinds).item() for spectra, kinds in val_loader) / len(val_loader)
    print(f"epoch {epoch}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
