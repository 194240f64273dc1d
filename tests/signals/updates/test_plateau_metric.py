import math

import numpy
import pytest

from gradaudit.signals.updates.plateau_metric import counted, metric_course
from tests.diagnosers.sick_schedules import HELD, plateau

COUNTS = numpy.array([104, 156, 177, 182, 192])


def course_of(run):
    return metric_course(run, run.meta.schedules.schedulers[0], run.trainings[0])


@pytest.mark.parametrize("examples", [97, 331, 1234, 4999])
def test_shares_and_percents_are_counted(examples):
    counts = COUNTS * examples // 400
    assert counted(counts / examples, []) == examples
    assert counted(100.0 * counts / examples, []) == examples
    assert counted((counts.astype(numpy.float32) / numpy.float32(examples)).astype(float), []) == examples


def test_a_number_of_examples_that_is_decimal_has_to_be_known():
    assert counted(COUNTS / 400, []) == 0
    assert counted(COUNTS / 400, [1200, 400]) == 400
    assert counted(COUNTS / 400, [77]) == 0


def test_losses_and_what_is_rounded_are_no_counts():
    random = numpy.random.default_rng(0)
    for _ in range(50):
        losses = random.random(6)
        assert counted(losses, [400, 60_000]) == 0
        assert counted(numpy.round(losses, 3), [331]) == 0
        assert counted(numpy.round(losses, 4), [331]) == 0


def test_few_values_and_such_beyond_percents_are_no_counts():
    assert counted(numpy.array([0.25, 0.5, 0.5, 0.25, 0.75]), [400]) == 0
    assert counted(numpy.array([-0.25, 0.0, 0.25, 0.5]), [400]) == 0
    assert counted(numpy.array([101.0, 102.0, 103.0, 104.0]), [400]) == 0


def test_the_course_of_an_accuracy(tmp_path):
    course = course_of(plateau(tmp_path / "a", loaders=HELD))
    assert (course.told, course.calls, course.examples) == ("counts", 12, 400)
    assert course.errors == pytest.approx(0.22 / math.sqrt(0.5 / 400))
    assert course.reached == pytest.approx(1e-3)
    assert math.isnan(course.agreement)


def test_the_mean_of_the_training_since_the_last_call_is_a_loss(tmp_path):
    loss = numpy.linspace(2.0, 1.0, 600)
    means = loss.reshape(12, 50).mean(axis=1)
    assert course_of(plateau(tmp_path / "a", mode="max", metrics=means.tolist(), loss=loss)).told == "loss"
    assert course_of(plateau(tmp_path / "b", mode="min", metrics=means[::-1].tolist(), loss=loss[::-1])) is None


def test_a_best_that_is_not_among_the_first_is_no_wrong_mode(tmp_path):
    metrics = [count / 400 for count in (156, 130, 104, 177, 182, 192, 200, 210, 220, 230, 240, 250)]
    assert course_of(plateau(tmp_path / "a", metrics=metrics, loaders=HELD)) is None
