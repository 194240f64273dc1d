"""Since when the weights of ranks differ, and which stand against the others."""

import numpy
import pytest

from gradaudit.signals.ranks.replicas import Checksums, checksums
from gradaudit.signals.ranks.weights_apart import weights_apart
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_replicas import GRID, replicas, sums


def of(rows):
    """Checksums of ranks at every tenth step; 0 where a rank took none."""
    rows = numpy.asarray(rows)
    differ = [len({value for value in row.tolist() if value}) > 1 for row in rows]
    steps = 10 * numpy.arange(len(rows))
    return Checksums(ranks=numpy.arange(rows.shape[1]), steps=steps, sums=rows, differ=numpy.asarray(differ))


EQUAL, APART = [5, 5, 5], [5, 6, 5]


@pytest.mark.parametrize(
    ("rows", "step", "equal_at", "earliest", "periodic"),
    [
        ([EQUAL, EQUAL, APART, APART], 20, 10, 11, False),
        ([EQUAL, APART, EQUAL, APART, EQUAL], 10, 0, 1, True),
        ([APART, APART], 0, None, 0, False),
        ([APART, EQUAL], 0, None, 0, True),
        ([APART], 0, None, 0, False),
    ],
)
def test_they_part_between_two_sums(rows, step, equal_at, earliest, periodic):
    found = weights_apart(of(rows))
    assert (found.step, found.equal_at, found.earliest, found.periodic) == (step, equal_at, earliest, periodic)
    assert found.last == 10 * (len(rows) - 1)


@pytest.mark.parametrize("rows", [[EQUAL, EQUAL], [[5, 0, 5]], numpy.zeros((0, 3), dtype=int)])
def test_equal_weights_are_not_apart(rows):
    assert weights_apart(of(rows)) is None


@pytest.mark.parametrize(
    ("row", "minority"),
    [
        ([5, 6, 5], [1]),
        ([6, 5, 5, 7, 5], [0, 3]),
        ([5, 6], []),  # of two nobody knows which
        ([5, 0, 6], []),
        ([5, 5, 6, 6], []),
        ([5, 6, 7], []),
        ([5, 6, 7, 5], []),  # half is no majority
        ([0, 5, 5, 6], [3]),  # a rank that took no sum stands against none
        ([-5, 5, -5], [1]),
    ],
)
def test_the_minority_stands_against_more_than_half(row, minority):
    assert weights_apart(of([row])).minority == minority


def test_the_minority_is_that_of_the_first_step_at_which_they_differ():
    assert weights_apart(of([EQUAL, APART, [6, 6, 5]])).minority == [1]


def test_a_run_whose_third_rank_parts(tmp_path):
    found = weights_apart(checksums(replicas(tmp_path / "a", [{}, {"weight_checksum": sums(100)}])))
    assert (found.step, found.equal_at, found.last) == (2 * GRID, GRID, 3 * GRID)
    assert (found.earliest, found.minority, found.periodic) == (GRID + 1, [2], False)


def test_one_rank_has_nothing_to_differ_from(tmp_path):
    assert weights_apart(checksums(build_run(tmp_path / "a", loss=falling(20)))) is None
