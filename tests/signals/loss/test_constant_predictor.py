"""What a model scores that ignores its input, against torch's losses of the best constant that torch finds."""

import math

import msgspec
import numpy
import pytest
import torch
from torch.nn import functional

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.constant_predictor import constant_loss, uniform_loss

COUNTS = [700, 200, 100]
TARGETS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
WEIGHTS = [1.0, 4.0, 10.0]


def facts(function="cross_entropy", **more):
    settings = {"classes": 3, "label_counts": COUNTS} if function == "cross_entropy" else {}
    return LossFacts(id=0, function=function, **{**settings, **more})


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize(("weights", "reduction"), [([], "mean"), (WEIGHTS, "mean"), (WEIGHTS, "none")])
def test_a_uniform_prediction_has_torchs_loss(smoothing, weights, reduction):
    weight = torch.tensor(weights) if weights else None
    logits = torch.zeros(len(TARGETS), 3)
    loss = functional.cross_entropy(logits, TARGETS, weight, reduction=reduction, label_smoothing=0.0).mean()
    known = facts(label_smoothing=smoothing, weighted=bool(weights), class_weights=weights, reduction=reduction)
    assert uniform_loss(known, "classification") == pytest.approx(float(loss), rel=1e-5)


def test_a_uniform_binary_prediction_has_torchs_loss():
    loss = functional.binary_cross_entropy_with_logits(torch.zeros(9), torch.rand(9))
    assert uniform_loss(facts("binary_cross_entropy"), "binary") == pytest.approx(float(loss))
    assert math.isnan(uniform_loss(facts("mse_loss"), "regression"))
    assert math.isnan(uniform_loss(facts(classes=1), "classification"))
    assert math.isnan(uniform_loss(facts(weighted=True, reduction="sum"), "classification"))


def lowest(loss):
    """The least that torch's optimizer makes of it, by one row of logits or one number for all targets."""
    constant = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([constant], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def closure():
        optimizer.zero_grad()
        value = loss(constant)
        value.backward()
        return value

    optimizer.step(closure)
    return float(loss(constant).detach())


@pytest.mark.parametrize(("smoothing", "weights"), [(0.0, []), (0.3, []), (0.0, WEIGHTS)])
def test_the_best_constant_is_the_one_that_torch_finds(smoothing, weights):
    weight = torch.tensor(weights) if weights else None
    best = lowest(
        lambda row: functional.cross_entropy(row.expand(len(TARGETS), 3), TARGETS, weight, label_smoothing=smoothing)
    )
    known = facts(label_smoothing=smoothing, weighted=bool(weights), class_weights=weights)
    assert constant_loss(known, "classification") == pytest.approx(best, abs=1e-4)


def test_smoothing_and_weights_together_are_a_little_above_torchs_minimum():
    """torch smooths towards weighted classes."""
    known = facts(label_smoothing=0.1, weighted=True, class_weights=WEIGHTS)
    best = lowest(
        lambda row: functional.cross_entropy(
            row.expand(len(TARGETS), 3), TARGETS, torch.tensor(WEIGHTS), label_smoothing=0.1
        )
    )
    assert constant_loss(known, "classification") == pytest.approx(best, abs=0.2)


def test_binary_targets_and_squares():
    targets = (torch.arange(10) < 3).float()
    best = lowest(lambda row: functional.binary_cross_entropy_with_logits(row[0].expand(10), targets))
    entropy = -(0.3 * math.log(0.3) + 0.7 * math.log(0.7))
    assert entropy == pytest.approx(best, abs=1e-5)
    assert constant_loss(facts("binary_cross_entropy", binary_entropy=entropy), "binary") == entropy
    assert math.isnan(constant_loss(facts("binary_cross_entropy", binary_entropy=entropy, weighted=True), "binary"))
    values = numpy.random.default_rng(0).normal(3, 2, (500, 3)) * [1, 10, 1]
    best = lowest(lambda row: functional.mse_loss(row.expand(500, 3), torch.tensor(values, dtype=torch.float32)))
    outputs, whole = float(values.var(axis=0).mean()), float(values.var())
    assert outputs == pytest.approx(best, rel=1e-4)
    assert constant_loss(facts("mse_loss", target_variance=whole, output_variance=outputs), "regression") == outputs
    assert constant_loss(facts("mse_loss", target_variance=whole), "regression") == whole


def test_where_only_the_entropy_is_known_it_is_a_bound_from_below():
    share = numpy.asarray(COUNTS) / 1000
    entropy = float(-(share * numpy.log(share)).sum())
    known = facts(label_smoothing=0.2)
    unknown = msgspec.structs.replace(known, label_counts=[], label_entropy=entropy)
    assert constant_loss(unknown, "classification") == pytest.approx(0.8 * entropy + 0.2 * math.log(3))
    assert constant_loss(unknown, "classification") <= constant_loss(known, "classification")
    plain = msgspec.structs.replace(unknown, label_smoothing=0.0)
    assert constant_loss(plain, "classification") == pytest.approx(constant_loss(facts(), "classification"))


@pytest.mark.parametrize("more", [{"label_counts": []}, {"label_counts": [0, 0, 0]}, {"classes": 1}])
def test_unknown_labels_have_no_constant(more):
    assert math.isnan(constant_loss(facts(**more), "classification"))
    assert math.isnan(constant_loss(facts("l1_loss"), "other"))
