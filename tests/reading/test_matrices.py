"""Columns of table `tensors` as matrices: the quick way for whole steps gives what the long way does."""

import numpy
import pytest

from gradaudit.reading.matrices import layout


def table(optimizers=1, steps=6, tensors=4):
    """Keys [rows] and a column of different values, whole steps one after the other, optimizers in turn."""
    keys = [(o, s, 10 * o + t) for s in range(0, 2 * steps, 2) for o in range(optimizers) for t in range(tensors)]
    owner, step, tensor = (numpy.asarray(key) for key in zip(*keys, strict=True))
    return owner, step, tensor, numpy.arange(len(keys), dtype="float32")


def naive(owner, step, tensor, values, optimizer, identifiers):
    steps = sorted({s for o, s in zip(owner, step, strict=True) if o == optimizer})
    matrix = numpy.full((len(steps), len(identifiers)), numpy.nan)
    for o, s, t, value in zip(owner, step, tensor, values, strict=True):
        if o == optimizer and t in identifiers:
            matrix[steps.index(s), identifiers.index(t)] = value
    return matrix


def drop(*rows):
    return lambda columns: [numpy.delete(column, rows) for column in columns]


def shuffle(columns):
    order = numpy.random.default_rng(0).permutation(len(columns[0]))
    return [column[order] for column in columns]


CHANGES = {
    "as recorded": lambda columns: columns,
    "a row of the middle is missing": drop(9),
    "the first row is missing": drop(0),
    "the last row is missing": drop(23),
    "a whole step is missing": drop(8, 9, 10, 11),
    "shuffled": shuffle,
    "from the end": lambda columns: [column[::-1] for column in columns],
}


@pytest.mark.parametrize(
    "identifiers", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 0], [0, 1, 2, 3, 7], [-1, 0, 1, 2, 3]], ids=str
)
@pytest.mark.parametrize("change", CHANGES)
def test_whole_steps_and_others_give_the_same_matrix(change, identifiers):
    owner, step, tensor, values = CHANGES[change](table())
    laid = layout(owner, step, tensor, 0, identifiers)
    numpy.testing.assert_array_equal(laid.matrix(values), naive(owner, step, tensor, values, 0, identifiers))
    assert laid.matrix(values).dtype == numpy.float32


@pytest.mark.parametrize("optimizer", [0, 1, 2])
def test_each_optimizer_has_its_own(optimizer):
    owner, step, tensor, values = table(optimizers=3)
    identifiers = [10 * optimizer + t for t in range(4)]
    laid = layout(owner, step, tensor, optimizer, identifiers)
    numpy.testing.assert_array_equal(laid.steps, [0, 2, 4, 6, 8, 10])
    numpy.testing.assert_array_equal(laid.matrix(values), naive(owner, step, tensor, values, optimizer, identifiers))


def test_rows_of_whole_steps_are_not_numbered_one_by_one():
    owner, step, tensor, _ = table()
    assert layout(owner, step, tensor, 0, [0, 1, 2, 3]).step is None
    assert layout(*(column[:-1] for column in (owner, step, tensor)), 0, [0, 1, 2, 3]).step is not None


def test_rows_without_a_tensor_give_no_step():
    owner, step, tensor, values = table()
    laid = layout(owner, step, numpy.full_like(tensor, -1), 0, [0])
    assert laid.matrix(values).shape == (0, 1)
