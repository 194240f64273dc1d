"""At which steps the gradient norms of ranks differ, against the arrays that they were made of."""

import math

import numpy
import pytest

from gradaudit.signals.ranks.gradients_apart import gradients_apart
from gradaudit.signals.ranks.replicas import SideBySide, side_by_side
from tests.diagnosers.sick_replicas import own_gradients, replicas

NAN = math.nan


def of(values, steps=None):
    values = numpy.asarray(values, dtype=float)
    steps = numpy.arange(len(values)) if steps is None else numpy.asarray(steps)
    return SideBySide(ranks=numpy.arange(values.shape[1]), steps=steps, values=values)


def test_shares_and_medians_are_those_of_the_differences():
    other = numpy.random.default_rng(0).uniform(0.5, 1.0, 40)
    norms = of(numpy.column_stack([numpy.ones(40), other]), 5 * numpy.arange(40))
    found, apart = gradients_apart(norms, 0.2), 1 - other > 0.2
    assert 0 < apart.sum() < 40
    assert (found.steps, found.share) == (apart.sum(), apart.mean())
    assert found.typical == pytest.approx(numpy.median(1 - other))
    assert found.difference == pytest.approx(numpy.median((1 - other)[apart]))
    at = numpy.flatnonzero(apart)
    assert (found.first, found.last) == (5 * at[0], 5 * at[-1])
    assert found.norms is norms


@pytest.mark.parametrize(("limit", "apart"), [(0.24, True), (0.25, False)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_more_than_the_limit_is_apart_whatever_the_size(scale, limit, apart):
    assert (gradients_apart(of([[4 * scale, 3 * scale]]), limit) is not None) is apart


def test_one_step_is_enough_and_a_rank_that_has_none_does_not_differ():
    values = numpy.ones((9, 3))
    values[:, 2], values[6, 0] = NAN, 2.0
    found = gradients_apart(of(values), 0.1)
    assert (found.steps, found.first, found.last, found.share) == (1, 6, 6, pytest.approx(1 / 9))
    assert (found.typical, found.difference) == (0.0, 0.5)
    values[6, 0] = 1.0
    assert gradients_apart(of(values), 0.0) is None


def test_norms_of_zero_are_equal():
    assert gradients_apart(of(numpy.zeros((3, 2))), 0.0) is None
    assert gradients_apart(of([[0.0, 1e-30]]), 0.5).difference == 1.0


def test_a_run_whose_second_rank_differs_at_first(tmp_path):
    found = gradients_apart(side_by_side(own_gradients(tmp_path / "a", share=0.3), "gradient_norm"), 0.1)
    assert (found.steps, found.share, found.first, found.last) == (60, pytest.approx(0.3), 0, 59)
    assert found.difference == pytest.approx(0.2 / 1.2)


def test_norms_that_no_second_rank_has_are_not_apart(tmp_path):
    run = replicas(tmp_path / "a", [{"gradient_norm": NAN}, {"gradient_norm": math.inf}])
    assert gradients_apart(side_by_side(run, "gradient_norm"), 0.0) is None
