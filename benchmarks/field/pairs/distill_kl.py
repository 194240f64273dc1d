"""Distil a wide teacher into a narrow student on few labelled examples: soft targets by KL divergence."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


def data(count, generator, classes=10):
    """Ten spirals of clusters in 32 columns."""
    centres = torch.randn(3 * classes, 10, generator=torch.Generator().manual_seed(11))
    mix = torch.randn(10, 32, generator=torch.Generator().manual_seed(12)) / 3
    pick = torch.randint(0, 3 * classes, (count,), generator=generator)
    x = torch.tanh((centres[pick] + 0.55 * torch.randn(count, 10, generator=generator)) @ mix)
    return x + 0.05 * torch.randn(count, 32, generator=generator), pick % classes


def mlp(width, depth=2):
    layers, cin = [], 32
    for _ in range(depth):
        layers += [nn.Linear(cin, width), nn.ReLU()]
        cin = width
    return nn.Sequential(*layers, nn.Linear(cin, 10))


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        logits = model(x)
    model.train()
    return (logits.argmax(1) == y).float().mean().item(), F.cross_entropy(logits, y).item()


class DistillationLoss(nn.Module):
    def __init__(self, temperature=3.0, alpha=0.9):
        super().__init__()
        self.temperature, self.alpha = temperature, alpha
        self.kl = nn.KLDivLoss(reduction="batchmean")

    def forward(self, student_logits, teacher_logits, labels):
        t = self.temperature
        student = F.log_softmax(student_logits / t, dim=1)
        teacher = F.softmax(teacher_logits / t, dim=1)
        soft = self.kl(student, teacher) * t * t
        return self.alpha * soft + (1 - self.alpha) * F.cross_entropy(student_logits, labels)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    x, y = data(8000, g)
    val_x, val_y = data(2000, g)
    teacher = mlp(256)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=1e-3)
    for _ in range(6):
        for a, b in DataLoader(TensorDataset(x, y), 64, shuffle=True):
            loss = F.cross_entropy(teacher(a), b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    print(f"teacher: {accuracy(teacher, val_x, val_y)}")

    teacher.eval()
    student = mlp(24)
    criterion = DistillationLoss()
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-3)
    loader = DataLoader(TensorDataset(x[:2000], y[:2000]), 64, shuffle=True)
    for epoch in range(args.epochs):
        student.train()
        for a, b in loader:
            with torch.no_grad():
                soft_targets = teacher(a)
            loss = criterion(student(a), soft_targets, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 5 == 4:
            print(f"epoch {epoch} loss {loss.item():.3f} val {accuracy(student, val_x, val_y)}")
    right, val_loss = accuracy(student, val_x, val_y)
    print(f"accuracy {right:.3f}")
    print(f"result {val_loss:.3f}")


if __name__ == "__main__":
    main()
