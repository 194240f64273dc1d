"""A graph network of four layers; a node's label depends on its neighbours' features."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
NODES = 400

edges = (torch.rand(NODES, NODES) < 0.01).float()
links = ((edges + edges.t()) > 0).float() + torch.eye(NODES)
links = links / links.sum(1, keepdim=True)
features = torch.randn(NODES, 6)
near = links @ features
labels = 2 * (near[:, 0] * near[:, 1] > 0).long() + (near[:, 2].abs() > near[:, 3].abs()).long()
train, test = torch.randperm(NODES).split(280)


class Layer(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.own, self.near = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)

    def forward(self, x, links):
        return torch.relu(self.own(x) + self.near(links @ x))


class GraphNetwork(nn.Module):
    def __init__(self, width=12, depth=3):
        super().__init__()
        self.layers = nn.ModuleList([Layer(6 if i == 0 else width, width) for i in range(depth)])
        self.out = nn.Linear(width, 4)

    def forward(self, x, links):
        for layer in self.layers:
            x = layer(x, links)
        return self.out(x)


model = GraphNetwork()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-4)
for step in range(300):
    logits = model(features, links)
    loss = F.cross_entropy(logits[train], labels[train])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 49:
        print(f"step {step} loss {loss.item():.3f}")
with torch.no_grad():
    right = (model(features, links).argmax(1) == labels)[train].float().mean()
print(f"result {right.item():.4f}")
