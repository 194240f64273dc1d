"""Communities in a graph from a few labels: a graph convolutional network on the full batch, Adam, weight decay."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 200
NODES = 600
COMMUNITIES = 5
WIDTH = 16
DROPOUT = 0.5
LEARNING_RATE = 1e-2
WEIGHT_DECAY = 5e-4

torch.manual_seed(SEED)
torch.set_num_threads(1)

labels = torch.randint(COMMUNITIES, (NODES,))
same = labels[:, None] == labels[None, :]
edges = torch.rand(NODES, NODES) < torch.where(same, 0.04, 0.005)
adjacency = (edges | edges.T | torch.eye(NODES, dtype=torch.bool)).float()
degrees = adjacency.sum(dim=1)
adjacency = adjacency / (degrees[:, None] * degrees[None, :]).sqrt()
features = torch.randn(NODES, 32) + 0.6 * torch.randn(COMMUNITIES, 32)[labels]
order = torch.randperm(NODES)
train_rows, validation_rows = order[:200], order[200:]


class GraphNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Linear(32, WIDTH)
        self.layer2 = nn.Linear(WIDTH, COMMUNITIES)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x):
        x = torch.relu(adjacency @ self.layer1(self.dropout(x)))
        return adjacency @ self.layer2(self.dropout(x))


model = GraphNetwork()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)


@torch.no_grad()
def evaluate():
    model.eval()
    return F.cross_entropy(model(features)[validation_rows], labels[validation_rows]).item()


print(f"constant {torch.log(torch.tensor(COMMUNITIES)):.4f}")
for step in range(STEPS):
    model.train()
    output = model(features)[train_rows]
    loss = F.cross_entropy(output, labels[train_rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(f"step {step} train {loss.item():.4f} validation {evaluate():.4f}")
print(f"final validation {evaluate():.4f}")
