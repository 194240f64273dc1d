"""Updates and gradients over weights, against steps that torch takes."""

import math

import msgspec
import numpy
import pytest
import torch
from torch import nn

from gradaudit.signals.updates.ratios import (
    gradient_ratio,
    judged_tensors,
    last_half,
    median_update_ratio,
    step_weights,
    update_ratio,
    window,
)
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling
from tests.signals.two_optimizers import two_optimizers

NAN, INF = math.nan, math.inf


def of(path, steps=10, **changes):
    return build_run(path, loss=falling(steps), **changes).trainings[0]


@pytest.mark.parametrize("rate", [1e-3, 0.1])
def test_they_are_those_of_sgd(tmp_path, rate):
    torch.manual_seed(0)
    layer = nn.Linear(32, 32)
    optimizer = torch.optim.SGD(layer.parameters(), lr=rate)
    norms: dict[str, list] = {"weight_norm": [], "gradient_norm": [], "update_norm": []}
    expected = []
    for _ in range(10):
        optimizer.zero_grad()
        layer(torch.randn(8, 32)).square().mean().backward()
        before = [p.detach().clone() for p in layer.parameters()]
        optimizer.step()
        moved = [(p.detach() - b) for p, b in zip(layer.parameters(), before, strict=True)]
        norms["weight_norm"].append([float(b.norm()) for b in before])
        norms["gradient_norm"].append([float(p.grad.norm()) for p in layer.parameters()])
        norms["update_norm"].append([float(m.norm()) for m in moved])
        expected.append([float(m.norm() / b.norm()) for m, b in zip(moved, before, strict=True)])
    training = of(tmp_path / "a", tensors=linear_stack(1), stats=norms)
    numpy.testing.assert_allclose(update_ratio(training), expected, rtol=1e-5)
    numpy.testing.assert_allclose(gradient_ratio(training) * rate, expected, rtol=1e-3)
    numpy.testing.assert_allclose(median_update_ratio(training), numpy.asarray(expected)[:, 0], rtol=1e-5)


@pytest.mark.parametrize(("weight", "update"), [(0, 0.5), (INF, 0.5), (NAN, 0.5), (1, NAN), (1, INF), (0, 0)])
def test_what_is_no_number_has_no_ratio(tmp_path, weight, update):
    training = of(tmp_path / "a", stats={"weight_norm": weight, "update_norm": update, "gradient_norm": update})
    assert numpy.isnan(update_ratio(training)).all()
    assert numpy.isnan(gradient_ratio(training)).all()
    assert numpy.isnan(median_update_ratio(training)).all()


def test_the_median_is_over_the_layers_that_did_not_start_at_zero_and_have_not_shrunk(tmp_path):
    weights = numpy.ones((10, 8))
    weights[:, 0], weights[5:, 2] = 0, 0.2
    updates = numpy.broadcast_to(numpy.asarray([9, 9, 0.3, 9, 0.2, 9, 0.1, 9]), (10, 8)) * weights
    found = median_update_ratio(of(tmp_path / "a", stats={"weight_norm": weights, "update_norm": updates}))
    assert found.tolist() == pytest.approx([numpy.median([0.3, 0.2, 0.1])] * 5 + [numpy.median([0.2, 0.1])] * 5)


def test_without_a_layer_nothing_is_known(tmp_path):
    tensors = [msgspec.structs.replace(tensor, optimizer=-1) for tensor in linear_stack()]
    assert numpy.isnan(median_update_ratio(of(tmp_path / "a", tensors=tensors))).all()


def test_layers_and_tables_that_are_trained_are_judged(tmp_path):
    tensors = linear_stack(2, embedding=9)
    tensors[3] = msgspec.structs.replace(tensors[3], requires_grad=False)
    assert judged_tensors(of(tmp_path / "a", tensors=tensors)).tolist() == [True, True, False, False, False]
    weights = [0.0, 1, 1, 1, 1]
    found = judged_tensors(of(tmp_path / "b", tensors=tensors, stats={"weight_norm": weights}))
    assert found.tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("recorded", "weights"),
    [([0, 1, 2, 10, 20, 36], [1, 1, 8, 10, 16, 16]), ([7], [1]), ([0, 39], [39, 39])],
)
def test_a_recorded_step_stands_for_those_up_to_the_next(tmp_path, recorded, weights):
    training = of(tmp_path / "a", 40, recorded=recorded)
    assert step_weights(training).tolist() == weights
    assert window(training, 2, 20).tolist() == [2 <= step <= 20 for step in recorded]
    assert last_half(training).tolist() == [step >= 20 for step in recorded]


def test_steps_are_each_trainings_own(tmp_path):
    run = two_optimizers(tmp_path / "a", falling(10), falling(10))
    for training in run.trainings:
        assert last_half(training).tolist() == [False] * 5 + [True] * 5
        assert step_weights(training).tolist() == [1.0] * 10
