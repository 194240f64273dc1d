"""Classify noisy stripe patterns with a small convolutional network.

Nothing is wrong here.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
CLASSES = 6
LABEL_NOISE = 0.08  # this share of the labels is drawn at random
EPOCHS = 4

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_images(count):
    """`count` images of 16 x 16 pixels: stripes at one of six angles, random phase and width, with pixel noise."""
    labels = torch.randint(CLASSES, (count,))
    angle = labels * torch.pi / CLASSES + 0.08 * torch.randn(count)
    frequency = 0.9 + 0.6 * torch.rand(count)
    phase = 2 * torch.pi * torch.rand(count)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    direction = x * angle.cos()[:, None, None] + y * angle.sin()[:, None, None]
    images = torch.sin(frequency[:, None, None] * direction + phase[:, None, None])
    images = images + 0.8 * torch.randn(images.shape)
    noisy = torch.rand(count) < LABEL_NOISE
    labels[noisy] = torch.randint(CLASSES, (int(noisy.sum()),))
    return images[:, None], labels


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.fc = nn.Linear(32, CLASSES)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.conv3(x)).mean(dim=(2, 3))
        return self.fc(x)


train_set = TensorDataset(*make_images(6400))
val_x, val_y = make_images(1000)
loader = DataLoader(train_set, batch_size=64, shuffle=True)

model = Net()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(loader))


@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    logits = model(x)
    loss = criterion(logits, y).item()
    accuracy = (logits.argmax(1) == y).float().mean().item()
    model.train()
    return loss, accuracy


step = 0
for _ in range(EPOCHS):
    for x, y in loader:
        if step % 20 == 0:
            val_loss, val_accuracy = evaluate(model, val_x, val_y)
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step % 50 == 0:
            print(f"step {step:4d}  train {loss.item():.3f}  val {val_loss:.3f}  val accuracy {val_accuracy:.1%}")
        step += 1

val_loss, val_accuracy = evaluate(model, val_x, val_y)
print(f"step {step:4d}  val {val_loss:.3f}  val accuracy {val_accuracy:.1%}")
