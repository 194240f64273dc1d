"""A polynomial fitted by hand, with a function of torch.nn.functional and an update of `param.data`."""

from itertools import count

import torch
import torch.nn.functional as F

torch.manual_seed(2)
EXPECTED = {"steps": 0, "losses": [], "evaluations": {}, "rate": 0.1}
W_target, b_target = torch.randn(4, 1) * 5, torch.randn(1) * 5
fc = torch.nn.Linear(W_target.size(0), 1)

for _batch_idx in count(1):
    x = torch.randn(32)
    batch_x = torch.cat([x.unsqueeze(1) ** i for i in range(1, 5)], 1)
    batch_y = batch_x.mm(W_target) + b_target.item()
    fc.zero_grad()
    output = F.smooth_l1_loss(fc(batch_x), batch_y)
    loss = output.item()
    output.backward()
    for param in fc.parameters():
        param.data.add_(-0.1 * param.grad)
    EXPECTED["steps"] += 1
    EXPECTED["losses"].append(loss)
    if _batch_idx == 40:
        break
