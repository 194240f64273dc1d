"""Spikes by their own losses, against spikes that were put there."""

import math

import numpy
import pytest

from gradaudit.signals.loss.spikes import Spikes, rate_jump, raw_spikes
from gradaudit.signals.order_statistics import running_median
from tests.build import build_run
from tests.diagnosers.runs import falling

STEPS, WINDOW = 200, 5


def found(values, limit=2.0, worst=None):
    smooth = running_median(values, WINDOW)
    high = smooth > limit
    worst = int(numpy.nanargmax(smooth)) if worst is None else worst
    return raw_spikes(values, high, numpy.full(len(values), limit), worst, WINDOW)


def spike(*places, height=9.0, width=6):
    values = numpy.ones(STEPS)
    for at in places:
        values[at : at + width] = height + numpy.arange(width) % 3
    return values


@pytest.mark.parametrize("at", [0, 3, 100, 194])
def test_it_begins_where_the_loss_rises_and_not_where_a_median_does(at):
    seen = found(spike(at))
    assert (seen.steps.tolist(), seen.first, seen.last, seen.top) == (list(range(at, at + 6)), at, at + 5, at + 2)


@pytest.mark.parametrize(("gap", "one"), [(5, True), (6, False)])
def test_near_spikes_are_one(gap, one):
    values = spike(50)
    values[55 + gap : 61 + gap] = 9.0
    seen = found(values, worst=52)
    assert len(seen.steps) == 12
    assert (seen.first, seen.last) == (50, 60 + gap if one else 55)


def test_the_highest_of_several_is_told():
    values = spike(50, 120)
    values[121] = 30
    assert found(values, worst=124).first == 120
    assert found(values, worst=53).first == 50
    assert len(found(values).steps) == 12


def test_what_is_no_number_is_no_height():
    values = spike(50)
    values[52] = math.nan
    assert found(values).top == 55
    # Where no loss of its own lies above, the median's steps are what there is.
    high = numpy.arange(STEPS) == 70
    assert raw_spikes(numpy.ones(STEPS), high, numpy.full(STEPS, 2.0), 70, WINDOW).steps.tolist() == [70]


@pytest.mark.parametrize(("first", "last", "shown"), [(100, 105, (75, 131)), (100, 130, (40, 191)), (3, 4, (0, 30))])
def test_several_times_its_width_is_shown(first, last, shown):
    around = Spikes(steps=numpy.arange(first, last + 1), first=first, last=last, top=first).around(STEPS)
    assert (around.start, around.stop) == shown


@pytest.mark.parametrize(("at", "seen"), [(100, 100), (98, 98), (97, None), (101, None)])
@pytest.mark.parametrize(("times", "told"), [(3.1, True), (2.9, False)])
def test_a_rate_that_jumps_shortly_before_is_why(tmp_path, at, seen, times, told):
    rates = [[1e-3, 1e-3 * (times if step >= at else 1)] for step in range(STEPS)]
    training = build_run(tmp_path / "a", loss=falling(), steps={"learning_rate": rates}).trainings[0]
    assert rate_jump(training, 100) == (seen if told else None)


def test_a_rate_that_rises_from_zero_is_no_jump(tmp_path):
    rates = [[0.0 if step < 100 else 1e-3] for step in range(STEPS)]
    training = build_run(tmp_path / "a", loss=falling(), steps={"learning_rate": rates}).trainings[0]
    assert rate_jump(training, 100) is None
    assert rate_jump(training, 0) is None
