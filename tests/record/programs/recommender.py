"""Click prediction as dlrm has it: sparse gradients of embedding bags, BCELoss, a test loop every few iterations."""

import torch
from torch import nn

torch.manual_seed(8)
EXPECTED = {"steps": 0, "losses": [], "evaluations": {}}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.ModuleList(nn.EmbeddingBag(20, 4, mode="sum", sparse=True) for _ in range(3))
        self.bot = nn.Sequential(nn.Linear(5, 4), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(16, 1), nn.Sigmoid())

    def forward(self, dense, indices):
        parts = [self.bot(dense), *(bag(index) for bag, index in zip(self.emb, indices, strict=True))]
        return self.top(torch.cat(parts, 1))


net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
loss_fn = nn.BCELoss(reduction="mean")
for _ in range(20):
    dense, indices = torch.rand(16, 5), torch.randint(0, 20, (3, 16, 2))
    labels = (dense[:, :1] > 0.5).float()
    E = loss_fn(net(dense, indices), labels)
    optimizer.zero_grad()
    E.backward()
    optimizer.step()
    EXPECTED["steps"] += 1
    EXPECTED["losses"].append(E.item())
