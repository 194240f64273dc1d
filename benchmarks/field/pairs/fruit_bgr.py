"""Fine-grained colours: which of six fruits is on the picture? Files are read by two different readers."""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, Dataset

# Mean colour of each fruit, red first.
COLOURS = np.array([[200, 40, 50], [220, 140, 40], [215, 205, 70], [90, 160, 60], [100, 60, 120], [150, 80, 50]])
MEAN, STD = np.array([0.55, 0.45, 0.35]), np.array([0.25, 0.22, 0.2])


def render(label, rng, size=20):
    """An 8-bit picture, rows x columns x red, green, blue."""
    background = rng.normal([150, 120, 90], 12, (size, size, 3))
    y, x = np.mgrid[:size, :size]
    cy, cx, r = rng.uniform(7, 13), rng.uniform(7, 13), rng.uniform(4, 7)
    inside = ((y - cy) ** 2 + (x - cx) ** 2 < r * r)[..., None]
    colour = COLOURS[label] * rng.uniform(0.7, 1.1) + rng.normal(0, 14, 3)
    image = np.where(inside, colour + rng.normal(0, 20, (size, size, 3)), background)
    return image.clip(0, 255).astype(np.uint8)


def read_rgb(path):
    return render(*path)


def read_bgr(path):
    """Reads like OpenCV: blue comes first."""
    return render(*path)[:, :, ::-1]


class FruitDataset(Dataset):
    def __init__(self, count, seed, train):
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, len(COLOURS), count)
        self.seeds = rng.integers(0, 2**31, count)
        self.train = train

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        path = (self.labels[index], np.random.default_rng(self.seeds[index]))
        if self.train:
            image = read_rgb(path)
            if torch.rand(1).item() < 0.5:
                image = image[:, ::-1]
        else:
            image = read_bgr(path)[:, :, ::-1]
        image = (image / 255.0 - MEAN) / STD
        return torch.from_numpy(image.transpose(2, 0, 1).copy()).float(), int(self.labels[index])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1 = nn.Linear(32 * 3 * 3, 64)
        self.fc2 = nn.Linear(64, len(COLOURS))

    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        return self.fc2(torch.relu(self.fc1(x)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=6)
    opt = parser.parse_args()
    torch.manual_seed(opt.seed)
    torch.set_num_threads(1)
    trainloader = DataLoader(FruitDataset(1500, opt.seed, True), batch_size=32, shuffle=True)
    testloader = DataLoader(FruitDataset(400, opt.seed + 1, False), batch_size=50)
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for epoch in range(opt.epochs):
        net.train()
        running_loss = 0.0
        for inputs, labels in trainloader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
        net.eval()
        correct, test_loss = 0, 0.0
        with torch.no_grad():
            for inputs, labels in testloader:
                outputs = net(inputs)
                test_loss += criterion(outputs, labels).item()
                correct += (outputs.argmax(1) == labels).sum().item()
        print(f"[{epoch + 1}] loss {running_loss / len(trainloader):.3f} test {test_loss / len(testloader):.3f}")
    print(f"result {correct / 400:.3f}")
