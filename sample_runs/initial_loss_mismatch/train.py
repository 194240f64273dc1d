"""Predict protein secondary structure: for each residue helix, sheet or coil, from the residues around it.

Two things are wrong. `nn.init.normal_` fills the output layer with its default standard deviation of 1, so the
first predictions are confident and random: the loss starts far above ln 3 = 1.10. And 20 proteins are too few for
a network of this size: the validation loss turns up long before training ends.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
# The residues that favour each structure, roughly as in Chou and Fasman (1978).
FAVOURED = {"helix": "AEHKLMQR", "sheet": "CFITVWY", "coil": "DGNPS"}
MEAN_SEGMENT = {"helix": 10, "sheet": 5, "coil": 6}

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_proteins(count, length=80):
    """Chains of structure segments; a favoured residue is three times as likely as any other."""
    odds = torch.tensor([[3.0 if r in favoured else 1.0 for r in RESIDUES] for favoured in FAVOURED.values()])
    mean_length = torch.tensor([float(n) for n in MEAN_SEGMENT.values()])
    structures = torch.empty(count, length, dtype=torch.long)
    state = torch.randint(3, (count,))
    for i in range(length):
        ends = torch.rand(count) < 1 / mean_length[state]
        state = torch.where(ends, (state + torch.randint(1, 3, (count,))) % 3, state)
        structures[:, i] = state
    residues = torch.multinomial(odds[structures.flatten()], 1).view(count, length)
    return residues, structures


class StructurePredictor(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.embedding = nn.Embedding(len(RESIDUES), 16)
        self.conv1 = nn.Conv1d(16, width, 5, padding=2)
        self.conv2 = nn.Conv1d(width, width, 5, padding=2)
        self.output = nn.Linear(width, 3)
        nn.init.kaiming_normal_(self.conv1.weight, nonlinearity="relu")
        nn.init.kaiming_normal_(self.conv2.weight, nonlinearity="relu")
        nn.init.normal_(self.output.weight)

    def forward(self, residues):
        x = self.embedding(residues).transpose(1, 2)
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        return self.output(x.transpose(1, 2))


def structure_loss(model, residues, structures):
    return F.cross_entropy(model(residues).flatten(0, 1), structures.flatten())


@torch.no_grad()
def evaluate(model, residues, structures):
    model.eval()
    loss = structure_loss(model, residues, structures)
    model.train()
    return loss.item()


loader = DataLoader(TensorDataset(*make_proteins(20)), batch_size=5, shuffle=True)
val_residues, val_structures = make_proteins(60)

model = StructurePredictor()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

step = 0
for epoch in range(75):
    for residues, structures in loader:
        if step % 10 == 0:
            val_loss = evaluate(model, val_residues, val_structures)
        loss = structure_loss(model, residues, structures)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"epoch {epoch:3d}  step {step:4d}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
        step += 1

print(f"final  val loss {evaluate(model, val_residues, val_structures):.3f}")
