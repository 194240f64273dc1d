"""Faults of wiring in real small trainings: each is told by its rule, and by no other one of the graph."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.audit.runner import examine
from tests.record.test_graph_quiet import RULES
from tests.record.training import recorded, run_of

LABELS = torch.arange(12) % 3


def layer(outputs=3):
    return nn.Linear(4, outputs)


def head(tail, outputs=3, loss=None, target=LABELS):
    loss = loss or functional.cross_entropy  # as it is while it is watched
    model = nn.Sequential(layer(outputs), tail)
    return model, lambda: loss(model(torch.randn(12, 4)), target)


def queries():
    model = layer(5)

    def loss():
        out = model(torch.randn(2, 6, 4))
        return ((out @ out.transpose(1, 2) / 5**0.5).softmax(1) @ out).square().mean()

    return model, loss


def cube(reorder):
    cell = nn.LSTM(4, 5)
    return cell, lambda: reorder(cell(torch.randn(7, 3, 4))[0]).square().mean()


def gaussian():
    model = layer(1)
    return model, lambda: -torch.distributions.Normal(model(torch.randn(12, 4)), 1.0).log_prob(torch.randn(12)).mean()


ONES = (LABELS == 1).float()
FAULTS = {
    "softmax twice": ("activation_before_loss", lambda: head(nn.Softmax(1))),
    "relu": ("activation_before_loss", lambda: head(nn.ReLU())),
    "softmax and nll": ("activation_before_loss", lambda: head(nn.Softmax(1), loss=functional.nll_loss)),
    "relu and bce": (
        "activation_before_loss",
        lambda: head(nn.Sequential(nn.ReLU(), nn.Flatten(0)), 1, functional.binary_cross_entropy_with_logits, ONES),
    ),
    "softmax over the batch": (
        "scrambled_axes",
        lambda: head(nn.LogSoftmax(0), loss=functional.nll_loss),
    ),
    "softmax of one": (
        "scrambled_axes",
        lambda: head(nn.Sequential(nn.Softmax(1), nn.Flatten(0)), 1, functional.binary_cross_entropy, ONES),
    ),
    "queries": ("scrambled_axes", queries),
    "time and batch": ("scrambled_axes", lambda: cube(lambda out: out.reshape(3, 7, 5))),
    "normal": ("broadcast_loss", gaussian),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_by_its_rule(tmp_path, name):
    rule, make = FAULTS[name]
    torch.manual_seed(0)
    with recorded(tmp_path / "run"):
        model, loss = make()
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(6):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    assert {one.name for one in RULES if examine(one, run).findings} == {rule}
