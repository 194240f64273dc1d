"""Label every atom of a molecule by its own kind and by the kind that prevails among its neighbours; dense GIN."""

import argparse

import torch
from torch import nn

NODES, KINDS = 16, 5


def make_molecules(count, generator):
    """Random graphs of sixteen atoms; a neighbour's kind counts with a weight, so that there are no ties."""
    kinds = torch.randint(0, KINDS, (count, NODES), generator=generator)
    bonds = (torch.rand(count, NODES, NODES, generator=generator) < 0.2).float().triu(1)
    bonds = bonds + bonds.transpose(1, 2)
    one_hot = nn.functional.one_hot(kinds, KINDS).float()
    prevailing = (bonds @ one_hot + 0.1 * torch.arange(KINDS)).argmax(2)
    return one_hot, bonds, (kinds + prevailing) % KINDS


class GINLayer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(1))
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, x, bonds):
        return torch.relu(self.norm(self.mlp((1 + self.eps) * x + bonds @ x)))


class GIN(nn.Module):
    def __init__(self, width=48, depth=3):
        super().__init__()
        self.encode = nn.Linear(KINDS, width)
        self.layers = nn.ModuleList([GINLayer(width) for _ in range(depth)])
        self.readout = nn.Linear(width, KINDS)

    def forward(self, x, bonds):
        x = self.encode(x)
        for layer in self.layers:
            x = layer(x, bonds)
        return self.readout(x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    x, bonds, y = make_molecules(2000, g)
    val_x, val_bonds, val_y = make_molecules(500, g)
    model = GIN()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(args.epochs):
        model.train()
        for index in torch.randperm(len(y)).split(50):
            loss = criterion(model(x[index], bonds[index]).flatten(0, 1), y[index].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            logits = model(val_x, val_bonds)
            val = criterion(logits.flatten(0, 1), val_y.flatten()).item()
            accuracy = (logits.argmax(2) == val_y).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.4f} val {val:.4f} accuracy {accuracy:.3f}")
    print(f"val_loss {val:.3f}")
    print(f"result {accuracy:.3f}")


if __name__ == "__main__":
    main()
