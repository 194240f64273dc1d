"""Hand signs from the angles of fourteen joints; the loss is divided by the batch size, and is a mean already.

The learning rate was raised until training got going. Batches have 40 examples, and the last one of each epoch 2.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SIGNS, JOINTS, EXAMPLES = 12, 14, 602

torch.manual_seed(0)
poses = torch.randn(SIGNS, JOINTS)
sign = torch.randint(0, SIGNS, (EXAMPLES + 300,))
angles = poses[sign] + 0.9 * torch.randn(len(sign), JOINTS)
loader = DataLoader(TensorDataset(angles[:EXAMPLES], sign[:EXAMPLES]), batch_size=40, shuffle=True)

model = nn.Sequential(
    nn.Linear(JOINTS, 64),
    nn.ReLU(),
    nn.Linear(64, 64),
    nn.ReLU(),
    nn.Linear(64, SIGNS),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=4.0, momentum=0.9)

for epoch in range(12):
    model.train()
    for batch, labels in loader:
        loss = criterion(model(batch), labels) / len(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    model.eval()
    with torch.no_grad():
        validation_loss = criterion(model(angles[EXAMPLES:]), sign[EXAMPLES:])
    print(f"epoch {epoch}: last loss {loss.item():.4f}, validation {validation_loss.item():.3f}")
