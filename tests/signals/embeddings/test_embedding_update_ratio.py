"""How fast a table learns beside the layers, against ratios put together by hand."""

import math

import msgspec
import numpy
import pytest

from gradaudit.signals.embeddings.embedding_update_ratio import embedding_update_ratio, table_speeds
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import embedding_rows, falling

STEPS, ROWS = 200, 64  # of 32 elements each: 2,048 are sampled


def training(path, table, layers=1e-3, hit=16, *, recorded=None, optimizer="AdamW", weights=1.0, probed=-1, **more):
    """Updates of the table [steps] and of the layers; `hit` of its 64 rows have a gradient at a step, None unknown."""
    first, *rest = linear_stack(2, embedding=ROWS)
    tensors = [msgspec.structs.replace(first, probed=probed), *rest]
    updates = numpy.full((STEPS, len(tensors)), float(layers))
    updates[:, 0] = table
    rows = [] if hit is None else embedding_rows(STEPS, tensor=0, rows=ROWS, hit=hit)
    kept = range(STEPS) if recorded is None else recorded
    stats = {"update_norm": updates[list(kept)], "weight_norm": weights, **more}
    return build_run(
        path, loss=falling(STEPS), tensors=tensors, stats=stats, rows=rows, recorded=recorded, optimizer=optimizer
    ).trainings[0]


def test_the_norm_of_an_update_grows_with_the_root_of_the_rows_that_it_hits(tmp_path):
    found = embedding_update_ratio(training(tmp_path / "a", 4e-3, weights=2.0), 0)
    assert (found.table, found.layers, found.hit_share) == (pytest.approx(2e-3), pytest.approx(5e-4), 0.25)
    assert found.relative == pytest.approx(2e-3 / 5e-4 / math.sqrt(0.25))
    assert found.update == pytest.approx(4e-3 / math.sqrt(16 * 32))


@pytest.mark.parametrize("times", [1e-4, 1e4])
def test_the_learning_rate_makes_no_difference_to_the_relative_ratio(tmp_path, times):
    one = embedding_update_ratio(training(tmp_path / "a", 4e-3), 0)
    other = embedding_update_ratio(training(tmp_path / "b", times * 4e-3, times * 1e-3), 0)
    assert other.relative == pytest.approx(one.relative, rel=1e-5)
    assert other.table == pytest.approx(times * one.table, rel=1e-5)


def test_a_step_counts_for_the_steps_up_to_the_next(tmp_path):
    """Ten steps in a row of 1e-3, then every tenth step of 5e-3: the median over the steps is the latter."""
    values = numpy.where(numpy.arange(STEPS) < 20, 1e-3, 5e-3)
    sparse = embedding_update_ratio(training(tmp_path / "a", values, recorded=[*range(20), *range(20, 200, 20)]), 0)
    assert sparse.table == pytest.approx(5e-3)


def test_few_sampled_elements_are_counted_by_their_root_mean_square(tmp_path):
    """Half a row of 64: the sample holds 16 elements that move, and at every other step it sees none of them."""
    stats = {"gradient_zero_fraction": 1 - 1 / 128}
    updates = numpy.where(numpy.arange(STEPS) % 2, 0.0, 1e-3)
    found = embedding_update_ratio(training(tmp_path / "a", updates, hit=None, **stats), 0)
    assert found.table == pytest.approx(math.sqrt((1e-3**2 + 0) / 2))
    assert found.hit_share == pytest.approx(1 / 128)


@pytest.mark.parametrize(("probed", "table"), [(2048, 1e-3), (-1, 1e-3), (100, math.sqrt(1e-6 * 0.75)), (2, None)])
def test_how_many_elements_move_is_known_by_those_that_were_probed(tmp_path, probed, table):
    """A quarter of the rows is hit: with 100 elements probed 25 move, and with 2 none at most of the steps."""
    updates = numpy.where(numpy.arange(STEPS) % 4, 1e-3, 0.0)
    found = embedding_update_ratio(training(tmp_path / "a", updates, probed=probed), 0)
    assert (found and found.table) == (table and pytest.approx(table))


def test_without_rows_the_zeros_of_the_gradient_tell_what_is_hit(tmp_path):
    assert embedding_update_ratio(training(tmp_path / "a", 4e-3, hit=None), 0).hit_share == 1.0


@pytest.mark.parametrize(("table", "layers"), [(math.nan, 1e-3), (1e-3, math.nan), (1e-3, 0.0)])
def test_what_is_not_known_has_no_ratio(tmp_path, table, layers):
    assert embedding_update_ratio(training(tmp_path / "a", table, layers), 0) is None


def test_tables_are_compared_by_step_under_adam_and_by_ratio_under_sgd(tmp_path):
    for optimizer, quantity in (("Adam", "update"), ("SGD", "relative")):
        one = training(tmp_path / optimizer, 4e-3, optimizer=optimizer)
        found = embedding_update_ratio(one, 0)
        assert table_speeds(one, {0: found, 1: None}) == {0: getattr(found, quantity)}
