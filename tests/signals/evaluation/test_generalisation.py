"""What validation losses are compared with, against the same by plain numpy and by trying."""

import math
from dataclasses import replace

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.schema import ModuleFacts
from gradaudit.signals.evaluation.generalisation import (
    RiseLimits,
    TrainingCurve,
    comparison,
    distance_at_end,
    early_stop,
    fall_since,
    held_out_rise,
    rise_limits,
    shortest_patience,
)
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling

NAN, INF = math.nan, math.inf
LIMITS = RiseLimits()
RISING = numpy.asarray([2.0, 1.5, 1.0, 1.2, 1.5, 1.6, 1.8])
STEPS = numpy.arange(0.0, 70.0, 10)


def curve(values, steps=STEPS, **more):
    return TrainingCurve("training loss", steps, numpy.asarray(values, dtype=float), **{"comparable": True, **more})


FALLING = curve(numpy.linspace(2.0, 0.2, 7))
lists = st.lists(st.integers(0, 20), min_size=1, max_size=15).map(lambda values: numpy.asarray(values, dtype=float))


def test_between_points_it_is_a_straight_line_and_gaps_are_bridged():
    train = curve([2.0, NAN, 1.0, INF, 0.5, 0.4, 0.3])
    at = numpy.asarray([0.0, 5.0, 30.0, 60.0, 99.0])
    expected = numpy.interp(at, [0, 20, 40, 50, 60], [2.0, 1.0, 0.5, 0.4, 0.3])
    numpy.testing.assert_allclose(train.at(at), expected)


def test_a_loss_that_ran_away_is_not_known_past_its_last_value():
    train = curve([2.0, 1.0, 0.5, 0.4, 0.3, NAN, NAN])
    assert train.at(numpy.asarray([40.0, 41.0])).tolist() == pytest.approx([0.3, NAN], nan_ok=True)
    assert numpy.isnan(curve([NAN] * 7).at(STEPS)).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_rise_is_measured_from_the_best_and_its_neighbours(scale):
    found = held_out_rise(scale * RISING, curve(scale * FALLING.values), STEPS, LIMITS)
    assert (found.best, found.later) == (2, 4)
    assert found.final == pytest.approx(scale * numpy.median(RISING[-3:]))
    risen = numpy.median(RISING[-3:]) - numpy.median(RISING[1:4])
    assert found.risen == pytest.approx(scale * risen)
    assert found.relative == pytest.approx(risen / (2.0 - 1.0))
    assert found.jump == pytest.approx(scale * numpy.median(numpy.abs(RISING[2:] - 2 * RISING[1:-1] + RISING[:-2])))
    assert found.dropped == pytest.approx((1.4 - 0.2) / 1.4)
    assert found.clear


def test_no_rise_is_clear_while_the_training_loss_rises_or_stays():
    for train in (curve(numpy.full(7, 1.4)), curve(numpy.linspace(1, 2, 7))):
        assert not held_out_rise(RISING, train, STEPS, LIMITS).clear
    assert not held_out_rise(numpy.sort(RISING)[::-1], FALLING, STEPS, LIMITS).clear


def test_every_limit_is_one():
    limits = {"rise": 0.41, "share": 0.41, "fell": 0.86, "later": 5}
    for name, limit in limits.items():
        assert not held_out_rise(RISING, FALLING, STEPS, RiseLimits(**{name: limit})).clear, name
    assert not held_out_rise(RISING, FALLING, STEPS, RiseLimits(scatter=100, fell_far=0.9)).clear


def test_the_limits_are_those_that_the_user_set(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN)
    assert rise_limits(run) == RiseLimits()
    changed = {f"overfitting.{name}": 10.0 + place for place, name in enumerate(RiseLimits.__struct_fields__)}
    found = rise_limits(replace(run, thresholds={**changed, "divergence.doubled": 3.0}))
    assert found == RiseLimits(10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0)


def test_of_few_evaluations_each_must_lie_above_the_best():
    steps, train = STEPS[:4], curve(numpy.geomspace(2.0, 0.2, 4), STEPS[:4])
    found = held_out_rise(numpy.asarray([1.3, 1.0, 1.2, 1.5]), train, steps, LIMITS)
    assert (found.best, found.final, found.later) == (1, 1.5, 2)
    assert found.steady == pytest.approx((1.2 - 1.0) / 1.0)
    assert found.relative == pytest.approx((1.5 - 1.0) / (2.0 - 1.0))
    assert found.clear
    assert not held_out_rise(numpy.asarray([1.3, 1.0, 1.04, 1.5]), train, steps, LIMITS).clear
    assert not held_out_rise(numpy.asarray([1.3, 1.0, 1.6, 1.5]), train, steps, LIMITS).clear
    assert not held_out_rise(numpy.asarray([1.3, 1.2, 1.0, 1.5]), train, steps, LIMITS).clear


def test_the_fall_and_the_distance_of_the_training_loss():
    assert fall_since(FALLING, STEPS, 0) == pytest.approx(0.9)
    assert fall_since(curve([-1.0, -2.0], STEPS[:2]), STEPS[:2], 0) == pytest.approx(1.0)
    assert math.isnan(fall_since(curve([0.0, -2.0], STEPS[:2]), STEPS[:2], 0))
    assert distance_at_end(FALLING, STEPS, 1.8) == pytest.approx(1.8 - numpy.median(FALLING.values[-3:]))
    assert math.isnan(distance_at_end(curve(FALLING.values, comparable=False), STEPS, 1.8))


def stops(values, patience):
    """As Keras' EarlyStopping: count the evaluations since the best one."""
    best, waited = math.inf, 0
    for at, value in enumerate(values):
        best, waited = (value, 0) if value < best else (best, waited + 1)
        if waited >= patience:
            return at
    return len(values) - 1


@given(lists, st.integers(1, 8))
def test_early_stopping_is_that_of_trainers(values, patience):
    assert early_stop(values, patience) == stops(values, patience)


@given(lists, st.integers(1, 5))
def test_the_shortest_patience_is_found_by_trying(values, least):
    best = int(numpy.argmin(values))
    reaching = [patience for patience in range(least, least + 20) if stops(values, patience) >= best]
    assert stops(values, shortest_patience(values, least)) >= best
    assert shortest_patience(values, least) == reaching[0]


@pytest.mark.parametrize(
    ("module", "comparable", "noisy"),
    [({}, True, False), ({"dropout": 0.1}, False, True), ({"batch_norm": True}, True, True), (None, False, False)],
)
def test_the_running_loss_stands_in_and_dropout_makes_it_another_one(tmp_path, module, comparable, noisy):
    modules = [] if module is None else [ModuleFacts(id=0, name="", module_class="Net", **module)]
    held_out = [(step, "validation", 1.0) for step in range(0, 200, 20)]
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN, modules=modules, evaluations=held_out)
    found = comparison(run, [training_loss(run.trainings[0])])
    assert (found.running, found.comparable, found.noisy) == (True, comparable, noisy)
    numpy.testing.assert_array_equal(found.values, falling())


@pytest.mark.parametrize(("count", "evaluated"), [(5, True), (4, False)])
def test_the_training_loss_of_evaluation_mode_comes_first_where_there_is_enough_of_it(tmp_path, count, evaluated):
    passes = [(step, split, 1.0 + step) for step in range(0, 200, 20) for split in ("train", "validation")]
    passes = [one for one in passes if one[1] == "validation" or one[0] < 20 * count]
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN, evaluations=passes)
    found = comparison(run, [training_loss(run.trainings[0])])
    assert found.running is not evaluated
    if evaluated:
        assert (found.steps.tolist(), found.comparable) == ([0, 20, 40, 60, 80], True)
        assert found.values.tolist() == [1, 21, 41, 61, 81]
