"""A Trainer whose model returns its loss in an object; batches are dictionaries; evaluation in a loop of its own."""

from collections import OrderedDict

import torch
from torch import nn
from torch.utils.data import DataLoader

torch.manual_seed(3)
EXPECTED = {"steps": 0, "losses": [], "evaluations": {"evaluation": []}, "classes": 5}


class ModelOutput(OrderedDict):
    def __getattr__(self, name):
        return self[name]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Dropout(0.1))
        self.classifier = nn.Linear(24, 5)

    def forward(self, inputs, labels=None):
        logits = self.classifier(self.body(inputs))
        loss = nn.CrossEntropyLoss()(logits, labels) if labels is not None else None
        return ModelOutput(loss=loss, logits=logits)


def collate(rows):
    return {"inputs": torch.stack([x for x, _ in rows]), "labels": torch.stack([y for _, y in rows])}


def make(count):
    x = torch.randn(count, 12)
    return list(zip(x, x[:, :5].argmax(1), strict=True))


class Trainer:
    def __init__(self, model, train_dataset, eval_dataset):
        self.model, self.train_dataset, self.eval_dataset = model, train_dataset, eval_dataset
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1 - step / 100)

    def train(self):
        for _ in range(3):
            for inputs in DataLoader(self.train_dataset, 16, shuffle=True, collate_fn=collate):
                loss = self.training_step(inputs)
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
                EXPECTED["steps"] += 1
                EXPECTED["losses"].append(loss.item())
            metrics = self.evaluate()
            EXPECTED["evaluations"]["evaluation"].append(metrics)

    def training_step(self, inputs):
        self.model.train()
        loss = self.compute_loss(inputs)
        loss.backward()
        return loss.detach()

    def compute_loss(self, inputs):
        return self.model(**inputs).loss

    def evaluate(self):
        self.model.eval()
        loader = DataLoader(self.eval_dataset, 16, collate_fn=collate)
        losses = [self.prediction_step(inputs) for inputs in loader]
        return sum(losses) / len(losses)

    @torch.no_grad()
    def prediction_step(self, inputs):
        return self.compute_loss(inputs).item()


Trainer(Classifier(), make(96), make(32)).train()
