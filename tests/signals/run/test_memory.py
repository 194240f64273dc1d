import pytest

from gradaudit.signals.run.memory import memory_course
from tests.diagnosers.sick_schedules import memory_of


def test_the_course_begins_after_a_tenth_of_the_run(tmp_path):
    course = memory_course(memory_of(tmp_path / "a", host=lambda step: 400 + step), "host")
    assert (course.first_step, course.last_step) == (87, 808)
    assert (course.first, course.last) == (487e6, 1208e6)
    assert course.per_step == pytest.approx(1e6)
    assert course.rates == pytest.approx((1e6, 1e6, 1e6))


def test_it_begins_after_the_first_epoch_where_there_is_another(tmp_path):
    def course(batches):
        return memory_course(memory_of(tmp_path / str(batches), host=lambda step: 400, batches=batches), "host")

    assert course(200).first_step == 212
    assert course(900).first_step == 87


def test_a_growth_that_stops_has_no_rate_in_the_last_third(tmp_path):
    course = memory_course(memory_of(tmp_path / "a", host=lambda step: 400 + min(step, 341)), "host")
    assert course.rates[0] > 0.9e6
    assert course.rates[2] == 0


def test_unknown_memory_and_short_runs_have_no_course(tmp_path):
    run = memory_of(tmp_path / "a", host=lambda step: 400)
    assert memory_course(run, "device") is None
    assert memory_course(memory_of(tmp_path / "b", host=lambda step: 400, steps=30), "host") is None
