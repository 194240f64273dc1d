"""Fresh weights are told from trained ones by how they start; real modules, recorded."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.signals.layers.untrained import MOST, initial, initial_share
from tests.record.training import recorded, run_of


def normal(std):
    def start(weight):
        nn.init.normal_(weight, std=std)

    return start


def train(model, steps, rate=0.1):
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    inputs = torch.randn(512, 64)
    labels = (inputs @ torch.randn(64, 5)).argmax(dim=1)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()


def zero_biases(model):
    """Normal weights of He's scale, and biases of zero, as residual networks have them."""
    for layer in model[::2]:
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    return model


def network(start=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 5))
    if start is not None:
        for layer in model[::2]:
            start(layer.weight)
    return model


@pytest.mark.parametrize(
    ("start", "share"),
    [(None, 1.0), (nn.init.xavier_uniform_, 1.0), (nn.init.kaiming_uniform_, 1.0), (normal(0.02), 1.0),
     (nn.init.zeros_, 1.0), (normal(0.05), 0.0), (nn.init.kaiming_normal_, 0.0)],
)  # fmt: skip
def test_a_model_that_is_made_new(tmp_path, start, share):
    model = network(start)
    with recorded(tmp_path / "run"):
        train(model, 3)
    assert initial_share(run_of(tmp_path / "run").trainings[0]) == pytest.approx(share, abs=0.04)


def test_biases_of_zero(tmp_path):
    model = zero_biases(network())
    with recorded(tmp_path / "new"):
        train(model, 3)
    assert initial_share(run_of(tmp_path / "new").trainings[0]) == 1.0
    train(model, 30)
    with recorded(tmp_path / "trained"):
        train(model, 3)
    assert initial_share(run_of(tmp_path / "trained").trainings[0]) == 0.0


@pytest.mark.parametrize("start", [None, nn.init.xavier_uniform_, normal(0.02)])
def test_a_model_that_was_trained_before(tmp_path, start):
    model = network(start)
    train(model, 300)
    with recorded(tmp_path / "run"):
        train(model, 3)
    assert initial_share(run_of(tmp_path / "run").trainings[0]) < 0.1


def test_a_frozen_backbone_counts(tmp_path):
    """A new head, or the matrices of LoRA, on what was trained before: little of all is new."""
    model = network()
    train(model, 300)
    model[4] = nn.Linear(96, 5)
    for layer in model[:4]:
        layer.requires_grad_(False)
    with recorded(tmp_path / "run"):
        train(model, 3)
    (training,) = run_of(tmp_path / "run").trainings
    assert 0 < initial_share(training) < 0.05 < MOST
    names = [tensor.name for tensor, is_new in zip(training.tensors, initial(training), strict=True) if is_new]
    assert names == ["4.weight"]
