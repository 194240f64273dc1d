"""A training loss that gets below a level that the validation loss does not."""

import math
from dataclasses import replace

import numpy
import pytest

from gradaudit.signals.evaluation.memorisation import Memorisation, memorisation
from gradaudit.signals.evaluation.validation import Evaluations
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN, flat

NAN, INF = math.nan, math.inf
LEVEL = math.log(10)
LINE = numpy.linspace(2.4, 0.4, 200)  # below the level from step 10 on
AT = [20, 50, 80, 110, 140, 170, 199]
RISING = [2.4, 2.5, 2.7, 2.9, 3.1, 3.3, 3.5]


def found(path, losses, at=AT, loss=LINE, level=LEVEL, **changes):
    losses = numpy.asarray(losses, dtype=float)
    held_out = [(step, "validation", value) for step, value in zip(at, losses.tolist(), strict=True)]
    run = build_run(path, loss=loss, facts=TEN, evaluations=held_out, **changes)
    evaluations = Evaluations("validation", numpy.asarray(at), losses, training=False)
    return memorisation(training_loss(run.trainings[0]), evaluations, level)


def test_a_validation_loss_that_stays_does_not_rise(tmp_path):
    assert found(tmp_path / "a", [2.4] * 7) == Memorisation(rising=False, unseen=False)


@pytest.mark.parametrize(("first", "unseen"), [(20, True), (5, False)])
def test_what_was_before_the_first_evaluation_nobody_has_seen(tmp_path, first, unseen):
    """The first one is the best: had the training loss been below the level by then?"""
    told = found(tmp_path / "a", RISING, [first, *AT[1:]])
    assert told == Memorisation(rising=True, unseen=unseen)


def test_a_best_one_later_was_seen(tmp_path):
    assert found(tmp_path / "a", [2.5, 2.4, *RISING[2:]]) == Memorisation(rising=True, unseen=False)


@pytest.mark.parametrize(("level", "told"), [(0.4, False), (0.6, True), (NAN, False), (-INF, False)])
def test_the_training_loss_must_end_below_the_level(tmp_path, level, told):
    """Its last tenth is 0.5 on average."""
    assert (found(tmp_path / "a", [2.4] * 7, level=level) is not None) is told


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_training_loss_that_ends_in_nan_is_not_below(tmp_path, value):
    loss = LINE.copy()
    loss[-1] = value
    assert found(tmp_path / "a", [2.4] * 7, loss=loss) is None


def test_what_learns_nothing_memorises_nothing(tmp_path):
    """Even below a level that is too high."""
    assert found(tmp_path / "a", [2.4] * 7, loss=flat(), level=9.0) is None


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_evaluations_that_are_not_finite_do_not_count(tmp_path, value):
    told = found(tmp_path / "a", [value, *RISING, value], [10, *AT, 199])
    assert told == Memorisation(rising=True, unseen=True)


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_evaluations_show_no_rise(tmp_path, count):
    assert found(tmp_path / "a", RISING[-count:], AT[-count:]) == Memorisation(rising=False, unseen=False)


def test_a_rise_is_what_the_user_calls_one(tmp_path):
    held_out = [(step, "validation", value) for step, value in zip(AT, RISING, strict=True)]
    run = build_run(tmp_path / "a", loss=LINE, facts=TEN, evaluations=held_out)
    evaluations = Evaluations("validation", numpy.asarray(AT), numpy.asarray(RISING), training=False)
    for thresholds, rising in (({}, True), ({"overfitting.later": 7}, False)):
        loss = training_loss(replace(run, thresholds=thresholds).trainings[0])
        assert memorisation(loss, evaluations, LEVEL).rising is rising
