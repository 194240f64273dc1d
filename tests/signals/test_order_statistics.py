import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.signals.order_statistics import (
    largest,
    median,
    medians_across,
    medians_of_others,
    quantile,
    running_median,
)

NAN, INF = float("nan"), float("inf")
numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(numbers)
def test_the_median_is_numpys(values):
    assert median(numpy.asarray(values)) == pytest.approx(numpy.median(values))


@given(numbers, st.integers(1, 5), st.floats(0.05, 0.95))
def test_a_weight_of_n_is_a_value_given_n_times(values, times, share):
    column = numpy.asarray(values)[:, None]
    weights = numpy.full(len(values), float(times))
    assert quantile(column, share, weights) == pytest.approx(quantile(numpy.repeat(column, times, axis=0), share))


def test_what_is_not_finite_is_ignored_without_a_warning():
    values = numpy.array([[1.0, NAN], [NAN, NAN], [INF, NAN], [3.0, NAN]])
    assert quantile(values, 0.5).tolist() == pytest.approx([2.0, NAN], nan_ok=True)
    assert medians_across(values).tolist() == pytest.approx([1.0, NAN, NAN, 3.0], nan_ok=True)
    assert numpy.isnan(largest(numpy.array([NAN, INF])))
    assert running_median(numpy.array([1.0, NAN, 5.0]), 3).tolist() == [1.0, 1.0, 3.0]


def test_nothing_has_no_median():
    assert numpy.isnan(quantile(numpy.zeros((0, 2)), 0.5)).all()
    assert quantile(numpy.zeros((3, 0)), 0.5).shape == (0,)
    assert numpy.isnan(median(numpy.zeros(0)))


def test_heavy_steps_count_for_more():
    values = numpy.array([[1.0], [2.0], [3.0]])
    assert quantile(values, 0.5, numpy.array([1.0, 1.0, 10.0]))[0] == 3.0


@given(st.lists(st.tuples(st.sampled_from([NAN, INF, 1.0, 2.0, 2.5, 7.0, -3.0]), st.booleans()), max_size=9))
def test_the_median_of_the_others_leaves_out_the_value_itself(pairs):
    values = numpy.asarray([value for value, _ in pairs], dtype=float)
    among = numpy.asarray([counts for _, counts in pairs], dtype=bool)
    place = numpy.arange(len(values))
    expected = [median(values[among & (place != i)]) for i in place]
    assert medians_of_others(values, among).tolist() == pytest.approx(expected, nan_ok=True)
