"""Whether all predictions are one, against entropies and shares by numpy."""

import math

import numpy
import pytest

from gradaudit.schema import LossFacts
from gradaudit.signals.activations.constant_outputs import constant_outputs
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import flat, loss_input

NAN = math.nan
COUNTS = [100, 700, 200]
SHARES = numpy.asarray(COUNTS) / sum(COUNTS)
ENTROPY = float(-(SHARES * numpy.log(SHARES)).sum())


def outputs(path, spread=1e-3, level=ENTROPY, same=1e-2, equal=1e-4, samples=True, counts=COUNTS, steps=None):
    facts = LossFacts(id=0, function="cross_entropy", classes=3, label_counts=counts)
    rows = [loss_input(step, batch_spread=spread) for step in range(0, 200, 10)] if samples else []
    run = build_run(path, loss=flat(level=level, noise=0.0), facts=facts, samples=rows, steps=steps)
    return constant_outputs(training_loss(run.trainings[0]), same, equal)


@pytest.mark.parametrize(
    ("spread", "same", "equal"),
    [(0.5, False, False), (1.01e-2, False, False), (0.99e-2, True, False), (1.01e-4, True, False),
     (0.99e-4, True, True), (0.0, True, True)],
)  # fmt: skip
def test_the_spread_is_held_against_both_limits(tmp_path, spread, same, equal):
    found = outputs(tmp_path / "a", spread)
    assert found.spread == pytest.approx(spread)
    assert (found.same, found.equal) == (same, equal)


@pytest.mark.parametrize("changes", [{"samples": False}, {"spread": NAN}, {"spread": math.inf}])
def test_an_unknown_spread_is_not_small(tmp_path, changes):
    found = outputs(tmp_path / "a", **changes)
    assert (found.same, found.equal) == (False, False)
    assert not math.isfinite(found.spread)


@pytest.mark.parametrize(
    ("times", "best"), [(0.5, True), (1.0, True), (1.09, True), (1.11, False), (3.0, False), (NAN, False)]
)
def test_the_best_constant_has_about_the_entropy_of_the_labels(tmp_path, times, best):
    assert outputs(tmp_path / "a", level=times * ENTROPY).best is best


def test_the_most_frequent_class_is_the_one_of_most_labels(tmp_path):
    found = outputs(tmp_path / "a")
    assert (found.most_frequent, found.share) == (1, pytest.approx(SHARES.max()))
    assert outputs(tmp_path / "b", counts=[5, 9, 9]).most_frequent == 1, "of equals the first"
    assert outputs(tmp_path / "c", counts=[0, 0, 4]).share == 1


@pytest.mark.parametrize("changes", [{"counts": []}, {"counts": [0, 0, 0]}, {"steps": {"loss": -1}}])
def test_labels_that_were_not_counted_have_no_most_frequent(tmp_path, changes):
    found = outputs(tmp_path / "a", **changes)
    assert (found.most_frequent, found.best) == (None, False)
    assert math.isnan(found.share)


def test_the_samples_must_reach_the_end(tmp_path):
    facts = LossFacts(id=0, function="cross_entropy", classes=3, label_counts=COUNTS)
    rows = [loss_input(step, batch_spread=0.0) for step in range(0, 170, 10)]
    run = build_run(tmp_path / "a", loss=flat(), facts=facts, samples=rows)
    assert not constant_outputs(training_loss(run.trainings[0]), 1.0, 1.0).equal
