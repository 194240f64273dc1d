"""Tell six kinds of vibration of a machine from 32 readings of a sensor.

The attention of the encoder is called with its drop probability whatever the mode: the function has no training flag,
and every validation drops 30 % of the attention weights.
"""

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
KINDS, LENGTH, WIDTH, EPOCHS = 6, 32, 32, 8

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_readings(count):
    """Waves of six frequencies at any phase, in noise."""
    kinds = torch.randint(KINDS, (count,))
    time = torch.arange(LENGTH) / LENGTH
    waves = torch.sin(2 * torch.pi * ((kinds[:, None] + 1) * time + torch.rand(count, 1) / 4))
    return (waves + 0.8 * torch.randn(count, LENGTH))[..., None], kinds


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(0.1 * torch.randn(LENGTH, WIDTH))
        self.enter, self.mix, self.leave = (
            nn.Linear(1, WIDTH),
            nn.Linear(WIDTH, 3 * WIDTH),
            nn.Linear(LENGTH * WIDTH, KINDS),
        )

    def forward(self, x):
        x = self.enter(x) + self.place
        query, key, value = self.mix(x).chunk(3, dim=-1)
        x = x + functional.scaled_dot_product_attention(query, key, value, dropout_p=0.3)
        return self.leave(functional.gelu(x).flatten(1))


train_loader = DataLoader(TensorDataset(*make_readings(1600)), batch_size=32, shuffle=True)
val_loader = DataLoader(TensorDataset(*make_readings(320)), batch_size=64)
model = Encoder()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

for epoch in range(EPOCHS):
    model.train()
    for x, y in train_loader:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        val_loss = sum(criterion(model(x), y).item() for x, y in val_loader) / len(val_loader)
    print(f"epoch {epoch}  train loss {loss.item():.3f}  val loss {val_loss:.3f}")
