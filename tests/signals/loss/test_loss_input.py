"""The range of a loss's input over its samples, and the least that probabilities as logits can cost."""

import math

import numpy
import pytest

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.loss_input import loss_input, lowest_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling
from tests.diagnosers.runs import loss_input as sample


def test_it_is_the_range_of_all_samples(tmp_path):
    samples = [sample(10, 0.2, 0.6, 0.1), sample(20, 0.1, 0.7, 0.3), sample(60, 0.3, 0.9, math.nan)]
    seen = loss_input(build_run(tmp_path / "a", loss=falling(), facts=TEN, samples=samples), TEN)
    assert (seen.samples, seen.first, seen.last, seen.steps) == (3, 10, 60, 51)
    assert [seen.low, seen.high, seen.row_sum_error] == pytest.approx([0.1, 0.9, 0.3])
    assert seen.bounded
    assert loss_input(build_run(tmp_path / "b", loss=falling(), facts=TEN), TEN) is None


@pytest.mark.parametrize(("low", "high", "bounded"), [(0, 1, True), (0, 0, False), (-0.01, 1, False), (0, 1.01, False)])
def test_probabilities_lie_within_their_bounds(tmp_path, low, high, bounded):
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN, samples=[sample(0, low, high)])
    assert loss_input(run, TEN).bounded is bounded


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_lowest_cross_entropy_is_that_of_a_one_hot_row(classes):
    logits = numpy.zeros(classes)
    logits[0] = 1.0
    best = -(logits[0] - numpy.log(numpy.exp(logits).sum()))
    assert lowest_loss(LossFacts(id=0, function="cross_entropy", classes=classes)) == pytest.approx(best)


@pytest.mark.parametrize("mean", [0.0, 0.3, 1.0])
def test_the_lowest_binary_loss_has_logits_of_zero_and_one(mean):
    facts = LossFacts(id=0, function="binary_cross_entropy_with_logits", target_mean=mean)
    assert lowest_loss(facts) == pytest.approx(mean * numpy.log1p(numpy.exp(-1.0)) + (1 - mean) * numpy.log(2))
