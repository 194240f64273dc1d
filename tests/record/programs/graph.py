"""Full-batch training on a graph: the training mask's loss is trained, the other masks are counted as accuracy."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(9)
EXPECTED = {"steps": 0, "losses": [], "evaluations": {}, "classes": 4}
x, y = torch.randn(80, 10), torch.randint(0, 4, (80,))
adjacency = (torch.rand(80, 80) < 0.05).float() + torch.eye(80)
adjacency = adjacency / adjacency.sum(1, keepdim=True)
masks = {"train": slice(0, 40), "val": slice(40, 60), "test": slice(60, 80)}


class GCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Linear(10, 16), nn.Linear(16, 4)

    def forward(self):
        h = F.dropout(F.relu(adjacency @ self.conv1(x)), 0.5, training=self.training)
        return F.log_softmax(adjacency @ self.conv2(h), dim=1)


model = GCN()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)


def train():
    model.train()
    optimizer.zero_grad()
    loss = F.nll_loss(model()[masks["train"]], y[masks["train"]])
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def test():
    model.eval()
    pred = model().argmax(-1)
    return [float((pred[mask] == y[mask]).float().mean()) for mask in masks.values()]


for _epoch in range(20):
    EXPECTED["losses"].append(train())
    EXPECTED["steps"] += 1
    test()
