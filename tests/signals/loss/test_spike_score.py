import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradaudit.signals.loss.spike_score import DEVIATIONS, LEAST, WINDOW, loss_spike_score, norm_spike_score, spikes
from tests.build import build_run
from tests.diagnosers.runs import TEN


def plainly(values):
    """The definition, one value after the other."""
    found = []
    for at in range(LEAST, len(values)):
        before = values[max(0, at - WINDOW) : at]
        found.append(values[at] >= before.mean() + DEVIATIONS * max(before.std(), 1e-6 * abs(before.mean())))
    return numpy.asarray(found, dtype=bool)


def noisy(count, seed=0, at=(), height=3.0):
    values = 2.0 + 0.1 * numpy.random.default_rng(seed).standard_normal(count)
    values[list(at)] += height
    return values


@pytest.mark.parametrize("count", [LEAST + 1, 999, 1000, 1001, 2000, 3456])
def test_it_is_the_definition(count):
    spiky = noisy(count, at=range(150, count, 171))
    numpy.testing.assert_array_equal(spikes(spiky), plainly(spiky))
    assert spikes(spiky).sum() == len(range(150, count, 171))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(LEAST + 1, 2500))
def test_it_is_the_definition_of_heavy_tails_too(seed, count):
    values = numpy.random.default_rng(seed).standard_t(2, count)
    numpy.testing.assert_array_equal(spikes(values), plainly(values))


def test_an_outlier_that_has_left_the_window_is_forgotten():
    values = noisy(3000, at=[2500])
    values[200] = 1e15
    assert numpy.flatnonzero(spikes(values)).tolist() == [200 - LEAST, 2500 - LEAST]


def test_noise_a_constant_and_a_falling_loss_have_no_spikes():
    assert not spikes(noisy(5000)).any()
    assert not spikes(numpy.full(2000, 0.1)).any()
    assert not spikes(numpy.geomspace(10, 1e-3, 2000)).any()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_changes_nothing(scale):
    values = noisy(2000, at=[700, 1500])
    numpy.testing.assert_array_equal(spikes(scale * values), spikes(values))


def test_nan_and_infinity_are_left_out():
    values = noisy(2000, at=[700])
    holes = numpy.insert(values, [300, 900], [numpy.nan, numpy.inf])
    numpy.testing.assert_array_equal(spikes(holes), spikes(values))


def test_of_a_run_it_is_the_share_of_the_values_that_can_be_judged(tmp_path):
    loss, norms = noisy(1000, at=[500]), noisy(1000, seed=1, at=[400, 401, 600])
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"gradient_norm": norms})
    assert loss_spike_score(run) == pytest.approx(1 / (1000 - LEAST))
    assert norm_spike_score(run) == pytest.approx(3 / (1000 - LEAST))


def test_a_short_run_has_none(tmp_path):
    run = build_run(tmp_path / "a", loss=noisy(LEAST), facts=TEN, steps={"gradient_norm": numpy.nan})
    assert loss_spike_score(run) is None
    assert norm_spike_score(run) is None
