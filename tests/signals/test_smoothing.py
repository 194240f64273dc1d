"""The smooth line of a noisy series, against a running median and two means written as loops."""

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.signals.smoothing import NEAR, smooth, wide

NAN, INF = math.nan, math.inf


def noise(count=200, seed=0):
    return 1 + 0.1 * numpy.random.default_rng(seed).standard_normal(count)


def by_loops(values, window=41):
    """A median of nine, a mean of `window` and one of five: on both sides alike at the start, one-sided at the end."""
    count = len(values)
    window = min(window, count // 8)

    def over(line, width, of, *, both):
        reach = [(min(width // 2, i), width // 2 if not both else min(width // 2, i)) for i in range(count)]
        return numpy.asarray([of(line[i - before : i + after + 1]) for i, (before, after) in enumerate(reach)])

    line = over(values, min(NEAR, window), numpy.median, both=True)
    return over(over(line, window, numpy.mean, both=True), 5, numpy.mean, both=True)


@pytest.mark.parametrize("count", [80, 200, 1000])
def test_steady_noise_is_a_median_and_two_means(count):
    numpy.testing.assert_allclose(smooth(noise(count)), by_loops(noise(count)))


@given(st.floats(1e-6, 1e6), st.integers(0, 5))
def test_the_unit_of_the_values_is_the_unit_of_the_line(scale, seed):
    numpy.testing.assert_allclose(smooth(scale * noise(seed=seed)), scale * smooth(noise(seed=seed)), rtol=1e-9)


def test_values_over_decades_are_smoothed_as_logarithms():
    values = 10 ** (8 * noise())
    numpy.testing.assert_allclose(smooth(values), 10 ** smooth(numpy.log10(values), log=False))


def test_it_jumps_where_the_values_jump_and_keeps_no_spike():
    step = numpy.where(numpy.arange(200) < 100, 1.0, 5.0) + 0.1 * (noise() - 1)
    line = smooth(step)
    assert numpy.abs(line[:100] - 1).max() < 0.02
    assert numpy.abs(line[100:] - 5).max() < 0.02
    spike = numpy.ones(200)
    spike[100] = 50
    numpy.testing.assert_array_equal(smooth(spike), 1)


def test_what_is_no_number_is_a_gap_in_the_same_place():
    values = noise()
    values[[0, 50, 51]] = NAN, INF, NAN
    line = smooth(values)
    assert numpy.flatnonzero(numpy.isnan(line)).tolist() == [0, 50, 51]
    numpy.testing.assert_allclose(line[80:], smooth(noise())[80:])
    assert smooth(numpy.full(50, NAN)).shape == (50,)
    assert smooth(numpy.zeros(0)).shape == (0,)
    assert smooth(numpy.asarray([2.5])).tolist() == [2.5]


def test_a_zero_among_decades_stays_zero():
    values = numpy.geomspace(1, 1e6, 100)
    values[40] = 0
    assert smooth(values, log=True)[40] == 0


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1, 101], True),
        ([1, 100], False),
        ([0, 1e6], False),
        ([-1, 1e6], False),
        ([NAN, 1, 1e3, INF], True),
        ([], False),
    ],
)
def test_more_than_two_decades_are_wide(values, told):
    assert wide(values) is told
