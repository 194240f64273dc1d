"""The learning rate that makes the first update that was too large a tenth of the weights."""

import math

import numpy
import pytest

from gradaudit.signals.updates.stable_learning_rate import AIM, HARMFUL, rates_at, stable_learning_rate
from tests.build import build_run
from tests.diagnosers.runs import falling, parameters

STEPS = 40


def of(path, ratio, rates=None, recorded=None):
    """Weights of norm 2 and updates of `ratio` [steps] times that."""
    rates = [[0.5]] * STEPS if rates is None else rates
    updates = 2 * numpy.broadcast_to(ratio, STEPS)[:, None]
    updates = updates if recorded is None else updates[list(recorded)]
    return build_run(
        path, loss=falling(STEPS), tensors=parameters(1), steps={"learning_rate": rates}, recorded=recorded,
        stats={"weight_norm": 2.0, "update_norm": updates},
    ).trainings[0]  # fmt: skip


def jump(size, at=20):
    return numpy.where(numpy.arange(STEPS) < at, 0.01, size)


@pytest.mark.parametrize("size", [0.2001, 0.5, 1e3])
def test_an_update_is_proportional_to_its_rate(tmp_path, size):
    found = stable_learning_rate(of(tmp_path / "a", jump(size)))
    assert (found.step, found.ratio, found.rates.tolist()) == (20, pytest.approx(size), [0.5])
    assert found.times == pytest.approx(max(3.0, size / AIM))
    # One digit: off by a half of the smallest, 1.5 of 1, at most.
    assert found.lower[0] == pytest.approx(0.5 / found.times, rel=0.5)
    assert found.lower[0] == float(f"{found.lower[0]:.0e}")


def test_below_the_limit_there_is_none(tmp_path):
    training = of(tmp_path / "a", jump(0.19))
    assert HARMFUL > 0.19
    assert stable_learning_rate(training) is None
    assert stable_learning_rate(training, 0.18).step == 20


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_not_the_first(tmp_path, value):
    ratio = jump(1.0)
    ratio[:5] = value
    assert stable_learning_rate(of(tmp_path / "a", ratio)).step == 20
    assert stable_learning_rate(of(tmp_path / "b", value)) is None


def test_the_rates_are_those_of_that_step_or_the_greatest_where_it_has_none(tmp_path):
    rates = [[0.01 * step, 0.02 * step] for step in range(STEPS)]
    assert rates_at(of(tmp_path / "a", 0.01, rates), 7) == pytest.approx([0.07, 0.14])
    assert rates_at(of(tmp_path / "b", 0.01, rates), 0) == pytest.approx([0.39, 0.78])
    sparse = stable_learning_rate(of(tmp_path / "c", jump(1.0, 5), rates, recorded=range(0, STEPS, 8)))
    assert (sparse.step, sparse.rates.tolist()) == (8, pytest.approx([0.08, 0.16]))


@pytest.mark.parametrize("size", [0.21, 0.3, 1.0, 1e5])
def test_a_larger_update_asks_for_no_larger_rate(tmp_path, size):
    one, more = (stable_learning_rate(of(tmp_path / str(times), jump(times * size))) for times in (1, 3))
    assert more.lower[0] <= one.lower[0]
    assert more.times >= one.times
