"""The pressure at the junctions of a network of pipes: a graph network with messages along the pipes."""

import argparse

import torch
from torch import nn
from torch.nn import functional as F


def network(nodes, generator):
    """Junctions with features, and pipes that are listed once; the pressure depends on all neighbours of a junction."""
    x = torch.randn(nodes, 4, generator=generator)
    pairs = torch.randint(0, nodes, (2, 2 * nodes), generator=generator)
    edges = pairs[:, pairs[0] < pairs[1]].unique(dim=1)
    edges = torch.cat([edges, edges.flip(0)], 1)
    return x, edges


def pressures(x, edges, generator):
    """From both ends of every pipe, whatever way it is listed."""
    both = torch.cat([edges, edges.flip(0)], 1).unique(dim=1)
    inflow = torch.zeros(len(x)).index_add(0, both[1], x[both[0], 0]) / torch.bincount(both[1], minlength=len(x)).clamp(
        min=1
    )
    return 1.5 * inflow + torch.sin(x[:, 1]) + 0.1 * torch.randn(len(x), generator=generator)


class SageLayer(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.own, self.others = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs, bias=False)

    def forward(self, x, edges):
        source, target = edges
        summed = torch.zeros_like(x).index_add(0, target, x[source])
        degree = torch.bincount(target, minlength=len(x)).clamp(min=1)
        return self.own(x) + self.others(summed / degree[:, None])


class Sage(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.first, self.second, self.out = SageLayer(4, width), SageLayer(width, width), nn.Linear(width, 1)

    def forward(self, x, edges):
        x = F.relu(self.first(x, edges))
        x = F.relu(self.second(x, edges))
        return self.out(x).squeeze(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=250)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    g = torch.Generator().manual_seed(args.seed)
    x, edges = network(2000, g)
    y = pressures(x, edges, g)
    train = torch.rand(len(x), generator=g) < 0.7
    model = Sage()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(args.epochs):
        model.train()
        optimizer.zero_grad()
        loss = F.mse_loss(model(x, edges)[train], y[train])
        loss.backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            held = F.mse_loss(model(x, edges)[~train], y[~train]).item()
        if epoch % 25 == 24:
            print(f"epoch {epoch} loss {loss.item():.4f} validation {held:.4f}")
    print(f"result {held:.4f}")


if __name__ == "__main__":
    main()
