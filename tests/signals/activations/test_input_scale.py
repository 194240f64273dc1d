"""The scale of inputs from gradients, against inputs given to a torch layer."""

import math

import msgspec
import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.schema import ModuleFacts
from gradaudit.signals.activations.input_scale import ROUNDING, input_scale
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling

STEPS = 40


def gradients(size, steps=STEPS):
    """[steps, 2]: norms of a layer's weight and bias gradient for one example a step, whose inputs have this RMS."""
    torch.manual_seed(0)
    layer, found = nn.Linear(32, 32), []
    for _ in range(steps):
        inputs = torch.randn(1, 32)
        layer.zero_grad()
        functional.l1_loss(layer(size * inputs / inputs.square().mean().sqrt()), torch.randn(1, 32)).backward()
        found.append([float(layer.weight.grad.norm()), float(layer.bias.grad.norm())])
    return numpy.asarray(found)


def scale(path, norms, tensors=None, **changes):
    tensors = linear_stack(1) if tensors is None else tensors
    stats = {"gradient_norm": norms, **changes.pop("stats", {})}
    return input_scale(build_run(path, loss=falling(len(norms)), tensors=tensors, stats=stats, **changes).trainings[0])


@pytest.mark.parametrize("size", [1e-3, 1.0, 255.0])
def test_it_is_the_root_mean_square_of_the_inputs(tmp_path, size):
    found = scale(tmp_path / "a", gradients(size))
    numpy.testing.assert_allclose(found.values, size, rtol=1e-5)
    assert found.typical == pytest.approx(size, rel=1e-5)
    assert not found.above.any()


@pytest.mark.parametrize("times", [1e-4, 1e3])
def test_the_scale_of_the_loss_makes_no_difference(tmp_path, times):
    numpy.testing.assert_allclose(scale(tmp_path / "a", times * gradients(3.0)).values, 3.0, rtol=1e-5)


def test_an_estimate_above_rounding_is_looked_at_and_not_believed(tmp_path):
    modules = [
        ModuleFacts(id=0, name="", module_class="Sequential"),
        ModuleFacts(id=1, name="0", module_class="Linear"),
    ]
    found = scale(tmp_path / "a", gradients(3 * ROUNDING), modules=modules)
    assert found.above.all()
    assert numpy.isnan(found.values).all()
    numpy.testing.assert_allclose(found.estimates, 3 * ROUNDING, rtol=1e-4)
    # Elsewhere a bias without a gradient may stand before a normalisation.
    assert numpy.isnan(scale(tmp_path / "b", gradients(3 * ROUNDING)).estimates).all()


def test_the_first_step_counts_where_it_is_less(tmp_path):
    norms = numpy.concatenate([gradients(2.0, 1), gradients(5.0)[1:]])
    assert scale(tmp_path / "a", norms).typical == pytest.approx(2.0, rel=1e-5)
    norms = numpy.concatenate([gradients(9.0, 1), gradients(5.0)[1:]])
    assert scale(tmp_path / "b", norms).typical == pytest.approx(5.0, rel=1e-5)


@pytest.mark.parametrize(("unknown", "known"), [(8, True), (12, False)])
def test_more_than_half_of_the_first_twenty_steps_must_tell(tmp_path, unknown, known):
    norms = gradients(2.0)
    norms[1 : 1 + unknown, 1] = 0
    found = scale(tmp_path / "a", norms)
    assert numpy.isnan(found.values).sum() == unknown
    assert math.isfinite(found.typical) is known


def test_one_step_and_steps_that_are_no_numbers(tmp_path):
    assert scale(tmp_path / "a", gradients(2.0, 1)).typical == pytest.approx(2.0, rel=1e-5)
    assert math.isnan(scale(tmp_path / "b", numpy.full((STEPS, 2), math.nan)).typical)


def test_layers_that_tell_nothing(tmp_path):
    weight, bias = linear_stack(1)
    one = [msgspec.structs.replace(weight, shape=[1, 32]), msgspec.structs.replace(bias, shape=[1])]
    assert scale(tmp_path / "a", gradients(1.0), one) is None
    assert scale(tmp_path / "b", gradients(1.0)[:, :1], [weight]) is None
    assert scale(tmp_path / "c", gradients(1.0), stats={"weight_norm": 0.0}) is None
    frozen = [msgspec.structs.replace(weight, requires_grad=False), *linear_stack(2)[1:]]
    assert scale(tmp_path / "d", numpy.tile(gradients(1.0), 2), frozen) is None
