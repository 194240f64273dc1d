"""Graph classification: does a random graph hold a triangle-rich community? Dense message passing, no library."""

import argparse

import torch
from torch import nn


def make_graphs(count, generator, nodes=16):
    """Rings with chords (class 0) or rings with closed triangles (class 1), of equal numbers of edges, node noise."""
    adjacency = torch.zeros(count, nodes, nodes)
    labels = torch.randint(0, 2, (count,), generator=generator)
    for g in range(count):
        order = torch.randperm(nodes, generator=generator)
        for i in range(nodes):
            a, b = order[i], order[(i + 1) % nodes]
            adjacency[g, a, b] = adjacency[g, b, a] = 1
        for i in torch.randperm(nodes, generator=generator)[:8].tolist():
            a, b = order[i], order[(i + (2 if labels[g] else 5)) % nodes]
            adjacency[g, a, b] = adjacency[g, b, a] = 1
    features = torch.randn(count, nodes, 8, generator=generator)
    return features, adjacency, labels


class GINLayer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(1))
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, x, adjacency):
        return self.norm(x + torch.relu(self.mlp((1 + self.eps) * x + adjacency @ x)))


class GIN(nn.Module):
    def __init__(self, inputs=8, width=32, depth=4, classes=2):
        super().__init__()
        self.encode = nn.Linear(inputs + 8, width)
        self.layers = [GINLayer(width) for _ in range(depth)]
        self.readout = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, x, adjacency):
        # Random node identities let a network of this kind count cycles.
        degree = adjacency.sum(-1, keepdim=True)
        walk = adjacency / degree
        steps, power = [], walk
        for _ in range(8):
            steps.append(power.diagonal(dim1=1, dim2=2))
            power = power @ (0.5 * walk + 0.5 * torch.eye(walk.size(1)))
        x = self.encode(torch.cat([0.1 * x, torch.stack(steps, -1) * degree], -1))
        for layer in self.layers:
            x = layer(x, adjacency)
        return self.readout(x.mean(1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    x, a, y = make_graphs(1500, g)
    val_x, val_a, val_y = make_graphs(400, g)
    model = GIN()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    print(model)
    for epoch in range(args.epochs):
        model.train()
        for index in torch.randperm(len(y)).split(50):
            loss = nn.functional.cross_entropy(model(x[index], a[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            logits = model(val_x, val_a)
            val_loss = nn.functional.cross_entropy(logits, val_y).item()
            accuracy = (logits.argmax(1) == val_y).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.3f} val {val_loss:.3f} acc {accuracy:.3f}")
    print(f"final: accuracy={accuracy:.3f} val_loss={val_loss:.3f}")


if __name__ == "__main__":
    main()
