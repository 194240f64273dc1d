"""Ranks side by side, against the arrays that they were made of."""

import math

import numpy
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats

from gradaudit.signals.ranks.replicas import checksums, side_by_side, spread
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_replicas import GRID, replicas, sums

NAN = math.nan
STEPS = 200


def test_a_column_by_step_and_rank(tmp_path):
    columns = [numpy.linspace(1, 2, STEPS), numpy.linspace(3, 4, STEPS)]
    run = replicas(tmp_path / "a", [{"mean_loss": column} for column in columns])
    found = side_by_side(run, "mean_loss")
    assert (found.ranks.tolist(), found.steps.tolist()) == ([0, 1, 2], list(range(STEPS)))
    numpy.testing.assert_array_equal(found.values, numpy.column_stack([falling(STEPS), *columns]))


def test_steps_that_only_one_rank_knows_are_left_out(tmp_path):
    one, other = numpy.full(STEPS, NAN), numpy.ones(STEPS)
    one[::10], other[:] = 5.0, NAN
    other[[0, 7]] = 1.0, math.inf
    run = replicas(tmp_path / "a", [{"mean_loss": one}, {"mean_loss": other}], columns={"mean_loss": NAN})
    found = side_by_side(run, "mean_loss")
    assert found.steps.tolist() == [0]
    numpy.testing.assert_array_equal(found.values, [[NAN, 5.0, 1.0]])


def test_weights_differ_where_one_checksum_does(tmp_path):
    run = replicas(tmp_path / "a", [{}, {"weight_checksum": sums(100, 150)}])
    found = checksums(run)
    grid = numpy.arange(0, STEPS, GRID)
    assert found.steps.tolist() == grid.tolist()
    assert found.differ.tolist() == [100 <= step < 150 for step in grid]
    numpy.testing.assert_array_equal(found.sums, (1_000_003 + grid)[:, None] + found.differ[:, None] * [0, 0, 1])


def test_a_rank_that_took_no_sum_does_not_differ(tmp_path):
    found = checksums(replicas(tmp_path / "a", [{"weight_checksum": 0}, {}]))
    assert not found.differ.any()
    assert (found.sums[:, 1] == 0).all()
    assert checksums(replicas(tmp_path / "b", [{"weight_checksum": 0}])).steps.tolist() == []


def test_one_rank_has_nothing_beside_it(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(20))
    assert side_by_side(run, "mean_loss").steps.tolist() == []
    assert checksums(run).differ.tolist() == []


def test_the_spread_is_the_range_over_the_greatest_size():
    values = numpy.asarray([[1.0, 2.0, NAN], [-4.0, 2.0, 0.0], [0.0, 0.0, 0.0], [3.0, 3.0, 3.0]])
    assert spread(values).tolist() == pytest.approx([0.5, 1.5, 0, 0])


# A product of numbers next to zero is zero: their unit does make a difference.
@given(
    arrays(float, (3, 4), elements=floats(-1e3, 1e3).map(lambda x: x if abs(x) > 1e-200 else 0.0)), floats(1e-6, 1e6)
)
def test_the_unit_makes_no_difference_to_the_spread(values, scale):
    numpy.testing.assert_allclose(spread(scale * values), spread(values), rtol=1e-6, atol=1e-9)
