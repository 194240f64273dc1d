"""The rank whose loss stands alone, against plain numpy."""

import numpy
import pytest

from gradaudit.signals.ranks.replicas import SideBySide
from gradaudit.signals.ranks.skew import FEW, skew


def beside(values):
    steps, ranks = values.shape
    return SideBySide(ranks=numpy.arange(ranks), steps=numpy.arange(steps), values=values)


def test_it_is_the_distance_in_standard_errors():
    values = 1 + 0.1 * numpy.random.default_rng(0).standard_normal((200, 3))
    values[:, 2] += 0.5
    found = skew(beside(values))
    tail = values[100:]
    away = tail[:, 2] - tail[:, :2].mean(axis=1)
    assert (found.rank, found.first, found.last) == (2, 100, 199)
    assert found.standard_errors == pytest.approx(away.mean() / (away.std() / numpy.sqrt(100)))
    assert found.distance == pytest.approx(away.mean() / values[0].mean())
    assert (found.own, found.others) == (pytest.approx(tail[:, 2].mean()), pytest.approx(tail[:, :2].mean()))


def test_few_complete_steps_are_none():
    values = numpy.ones((2 * FEW, 2))
    assert skew(beside(values)) is not None
    values[-1, 1] = numpy.nan
    values[-2, 1] = numpy.nan
    assert skew(beside(values)) is None
