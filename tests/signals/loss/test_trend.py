import numpy
import pytest

from gradaudit.signals.loss.trend import Height, trend_and_scatter


def test_the_trend_is_the_median_of_the_steps_before():
    values = numpy.random.default_rng(0).exponential(1.0, 60)
    trend, scatter = trend_and_scatter(values, 10)
    apart = numpy.abs(numpy.diff(values))
    for step in range(11, 60):
        assert trend[step] == pytest.approx(numpy.median(values[step - 10 : step]))
        assert scatter[step] == pytest.approx(1.4826 / numpy.sqrt(2) * numpy.median(apart[step - 11 : step - 1]))
    assert numpy.isnan(trend[:5]).all()


def test_the_scatter_of_normal_values_on_a_slope_is_their_deviation():
    values = numpy.linspace(5, 1, 4_000) + 0.1 * numpy.random.default_rng(0).standard_normal(4_000)
    _, scatter = trend_and_scatter(values, 2_000)
    assert scatter[-1] == pytest.approx(0.1, rel=0.1)


def test_what_is_not_finite_counts_as_unknown():
    values = numpy.ones(20)
    values[[3, 12]] = numpy.nan, numpy.inf
    trend, _ = trend_and_scatter(values, 10)
    assert trend[-1] == 1


def test_a_height_is_over_the_trend_and_a_gain_below_the_start():
    height = Height(level=3.0, trend=1.0, scatter=0.1, start=2.5)
    assert (height.above, height.gained) == (2.0, 1.5)
