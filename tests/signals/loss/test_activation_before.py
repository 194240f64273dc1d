"""Activations that do not belong before a loss, and the least that they can cost."""

import math

import pytest
import torch
from torch.nn import functional

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.activation_before import lowest_loss_behind, unwanted_activation

BINARY = "binary_cross_entropy_with_logits"


@pytest.mark.parametrize(
    ("function", "activation", "over", "unwanted"),
    [
        ("cross_entropy", "softmax", 10, True),
        ("cross_entropy", "softmax", 32, False),  # over the batch
        ("cross_entropy", "sigmoid", 0, True),
        ("cross_entropy", "log_softmax", 0, True),
        ("cross_entropy", "", 0, False),
        ("cross_entropy", None, 0, False),
        ("nll_loss", "softmax", 10, True),
        ("nll_loss", "log_softmax", 0, False),
        ("nll_loss", "relu", 0, False),
        (BINARY, "sigmoid", 0, True),
        (BINARY, "relu", 0, True),
        (BINARY, "log_softmax", 0, False),
        ("binary_cross_entropy", "sigmoid", 0, False),
        ("mse_loss", "tanh", 0, False),
    ],
)
def test_what_a_loss_does_not_want(function, activation, over, unwanted):
    facts = LossFacts(id=0, function=function, classes=10, activation=activation, softmax_over=over)
    assert unwanted_activation(facts) == (activation if unwanted else "")


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize(("activation", "low"), [("sigmoid", 0.0), ("softmax", 0.0), ("tanh", -1.0)])
def test_the_lowest_cross_entropy(classes, activation, low):
    logits = torch.full((1, classes), low, dtype=torch.float64)
    logits[0, 0] = 1
    best = functional.cross_entropy(logits, torch.tensor([0])).item()
    facts = LossFacts(id=0, function="cross_entropy", classes=classes)
    assert lowest_loss_behind(facts, activation) == pytest.approx(best)


@pytest.mark.parametrize("mean", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(("activation", "low"), [("sigmoid", 0.0), ("tanh", -1.0)])
def test_the_lowest_binary_loss(mean, activation, low):
    target = (torch.arange(4) < 4 * mean).double()
    best = functional.binary_cross_entropy_with_logits(torch.where(target == 1, 1.0, low).double(), target).item()
    facts = LossFacts(id=0, function=BINARY, target_mean=mean)
    assert lowest_loss_behind(facts, activation) == pytest.approx(best)


def test_what_is_not_bounded_or_not_known_has_no_lowest_loss():
    for facts, activation in (
        (LossFacts(id=0, function="cross_entropy", classes=10), "relu"),
        (LossFacts(id=0, function="cross_entropy", classes=10, weighted=True), "tanh"),
        (LossFacts(id=0, function=BINARY), "sigmoid"),
        (LossFacts(id=0, function="nll_loss", classes=10), "softmax"),
    ):
        assert math.isnan(lowest_loss_behind(facts, activation))
