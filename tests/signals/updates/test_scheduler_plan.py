import math

import numpy
import pytest

from gradaudit.schema import DataFacts, SchedulerFacts
from gradaudit.signals.updates.scheduler_plan import Amounts, Plan, amounts, peak_course, plans
from tests.build import build_run


def plan_of(kind, *others, **facts):
    return list(plans(SchedulerFacts(id=0, scheduler_class=kind, **facts), others))


@pytest.mark.parametrize(
    ("kind", "numbers", "calls"),
    [
        ("OneCycleLR", {"total_steps": 90}, 90),
        ("CosineAnnealingLR", {"T_max": 12}, 12),
        ("PolynomialLR", {"total_iters": 30}, 30),
        ("LinearLR", {"total_iters": 30, "start_factor": 1.0, "end_factor": 0.1}, 30),
        ("ExponentialLR", {"gamma": 0.1}, 3),
        ("StepLR", {"gamma": 0.1, "step_size": 30}, 90),
        ("LambdaLR", {"num_training_steps": 70, "num_warmup_steps": 7}, 70),
    ],
)
def test_the_number_that_says_when_a_schedule_is_over(kind, numbers, calls):
    (found,) = plan_of(kind, numbers=numbers)
    assert (found.calls, found.stated) == (calls, True)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("LinearLR", {"total_iters": 30, "start_factor": 0.1, "end_factor": 1.0}),
        ("ExponentialLR", {"gamma": 1.0}),
        ("StepLR", {"gamma": 0.0, "step_size": 3}),
        ("CosineAnnealingWarmRestarts", {"T_0": 10}),
        ("OneCycleLR", {"total_steps": None}),
        ("SequentialLR", {}),
    ],
)
def test_schedules_that_are_never_over(kind, numbers):
    assert plan_of(kind, numbers=numbers) == []


def test_whole_numbers_of_a_function_may_be_its_length():
    numbers = {"last_epoch": 4, "warmup": 60, "total": 600, "base": 0.95, "two": 2, "unknown": None}
    assert plan_of("LambdaLR", numbers=numbers) == [Plan(60, "warmup", False), Plan(600, "total", False)]


def test_a_sequence_is_as_long_as_its_last_part_begins_and_lasts():
    last = SchedulerFacts(id=2, scheduler_class="CosineAnnealingLR", numbers={"T_max": 540})
    (found,) = plan_of("SequentialLR", last, parts=[1, 2], lists={"milestones": [60]})
    assert found == Plan(600, "T_max", True)


def test_steps_batches_and_epochs(tmp_path):
    run = build_run(tmp_path / "a", loss=numpy.ones(20), steps={"micro_steps": 4}, data=DataFacts(batches_per_epoch=16))
    assert amounts(run.trainings[0]) == Amounts(steps=20, batches=80, epochs=5.0, batches_per_epoch=16)
    run = build_run(tmp_path / "b", loss=numpy.ones(20))
    assert math.isnan(amounts(run.trainings[0]).epochs)


def test_the_course_of_the_rate_is_over_its_peak(tmp_path):
    rates = [[0.1, 0.4], [0.2, math.nan], [math.nan, math.nan], [0.0, 0.0]]
    run = build_run(tmp_path / "a", loss=numpy.ones(4), steps={"learning_rate": rates})
    numpy.testing.assert_allclose(peak_course(run.trainings[0]), [1, 0.5, math.nan, 0], rtol=1e-6)
    run = build_run(tmp_path / "b", loss=numpy.ones(4), steps={"learning_rate": [[0.0]] * 4})
    assert numpy.isnan(peak_course(run.trainings[0])).all()
