"""How large a step is by formula, against torch's arithmetic in each precision."""

import math

import msgspec
import numpy
import pytest
import torch

from gradaudit.signals.updates.step_size import (
    adam_eps,
    below_precision,
    clipped_away,
    gradients_per_element,
    over_eps,
)
from tests.build import build_run
from tests.diagnosers.runs import falling, parameters

STEPS, NAN, INF = 20, math.nan, math.inf


def of(path, norms, *, dtype="float32", rate=1.0, optimizer="SGD", count=1, steps=None, **changes):
    tensors = [msgspec.structs.replace(tensor, dtype=dtype) for tensor in parameters(count)]
    steps = {"learning_rate": [[rate]] * STEPS, **(steps or {})}
    stats = {"gradient_norm": norms, "weight_norm": 32.0, **changes.pop("stats", {})}
    return build_run(
        path, loss=falling(STEPS), tensors=tensors, stats=stats, steps=steps, optimizer=optimizer, **changes
    ).trainings[0]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("size", [0.9, 1.1])
@pytest.mark.parametrize("rate", [1e-3, 1.0])
def test_an_update_is_lost_where_torch_loses_it(tmp_path, dtype, size, rate):
    """Weights of 1, and a gradient that moves them by so many halves of the distance to the next number below."""
    kind = getattr(torch, dtype)
    half = torch.finfo(kind).eps / 4
    lost = bool(torch.tensor(1.0, dtype=kind) - torch.tensor(size * half, dtype=kind) == 1)
    assert below_precision(of(tmp_path / "a", 32 * size * half / rate, dtype=dtype, rate=rate)).tolist() == [lost]


def test_adam_divides_by_the_gradient_and_its_eps(tmp_path):
    half = torch.finfo(torch.bfloat16).eps / 4
    for gradient, eps, rate, lost in (
        (1e-9, 1e-8, 2 * half, True),
        (1.0, 1e-8, 2 * half, False),
        (1.0, 1e-8, half / 2, True),
    ):
        defaults = {"eps": eps}
        parameter = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
        parameter.grad = torch.full((4,), gradient, dtype=torch.bfloat16)
        torch.optim.Adam([parameter], lr=rate, eps=eps).step()
        assert bool((parameter == 1).all()) is lost
        path = tmp_path / f"{gradient} {rate}"
        training = of(path, 32 * gradient, dtype="bfloat16", rate=rate, optimizer="Adam", defaults=defaults)
        assert below_precision(training).tolist() == [lost]


@pytest.mark.parametrize("norm", [0.0, NAN])
def test_no_gradient_loses_nothing(tmp_path, norm):
    assert not below_precision(of(tmp_path / "a", norm)).any()
    assert not below_precision(of(tmp_path / "b", norm, optimizer="Adam")).any()


@pytest.mark.parametrize("before", [0.5, 4.0, INF, NAN])
def test_what_clipping_takes_is_the_norm_before_over_that_after(tmp_path, before):
    torch.manual_seed(0)
    gradient = torch.randn(32, 32)
    gradient *= before / gradient.norm() if math.isfinite(before) else 1 / gradient.norm()
    parameter = torch.nn.Parameter(torch.zeros(32, 32))
    parameter.grad = gradient
    torch.nn.utils.clip_grad_norm_([parameter], 1.0)
    steps = {"gradient_norm": before, "clip_kind": 1, "clip_threshold": 1.0}
    found = clipped_away(of(tmp_path / "a", float(parameter.grad.norm()), steps=steps))
    expected = max(1.0, before) if math.isfinite(before) else 1.0
    numpy.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_clipping_and_at_steps_without_it_nothing_is_taken(tmp_path):
    kinds = numpy.where(numpy.arange(STEPS) < 5, 0, 1)
    found = clipped_away(of(tmp_path / "a", 1.0, steps={"gradient_norm": 3.0, "clip_kind": kinds}))
    assert found.tolist() == pytest.approx([1.0] * 5 + [3.0] * 15)
    few = of(tmp_path / "b", 1.0, steps={"gradient_norm": 3.0, "clip_kind": kinds}, recorded=[0, 9])
    assert clipped_away(few).tolist() == pytest.approx([1.0, 3.0])


def test_gradients_are_root_mean_squares_before_or_after_clipping(tmp_path):
    norms = numpy.asarray([1.0, 3.0])
    steps = {"gradient_norm": 4 * math.hypot(*norms), "clip_kind": 1}
    training = of(tmp_path / "a", norms, count=2, steps=steps)
    rows = numpy.ones(STEPS, dtype=bool)
    assert gradients_per_element(training, rows, clipped=True) == pytest.approx(norms / 32)
    assert gradients_per_element(training, rows, clipped=False) == pytest.approx(4 * norms / 32, rel=1e-5)


def test_the_largest_gradient_over_eps(tmp_path):
    rows = numpy.ones(STEPS, dtype=bool)
    adam = of(tmp_path / "a", [1e-6, 3.2e-6], count=2, optimizer="AdamW", defaults={"eps": 1e-8})
    assert adam_eps(adam) == 1e-8
    assert over_eps(adam, rows, clipped=True) == pytest.approx(3.2e-6 / 32 / 1e-8)
    assert over_eps(adam, ~rows, clipped=True) == INF
    for number, changes in enumerate(({"optimizer": "SGD", "defaults": {"eps": 1.0}}, {"optimizer": "Adam"})):
        other = of(tmp_path / str(number), 1e-6, **changes)
        assert (adam_eps(other), over_eps(other, rows, clipped=True)) == (0, INF)
    silent = of(tmp_path / "c", NAN, optimizer="Adam", defaults={"eps": 1e-8})
    assert over_eps(silent, rows, clipped=True) == INF
