import numpy

from gradaudit.chart_data import Lines
from gradaudit.diagnosers.amp_overflow import Overflow, ScaleFound, SkippedSteps, amp_overflow
from gradaudit.diagnosers.non_finite import non_finite
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_facts import overflowing
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, judged


def test_a_run_without_a_scaler_is_not_judged(tmp_path):
    assert_not_applicable(amp_overflow, build_run(tmp_path / "a", loss=falling()))


def test_overflows_while_the_scaler_finds_its_scale_are_quiet_and_not_non_finite(tmp_path):
    skipped = numpy.arange(100) < 5
    stats = {"gradient_inf": numpy.where(skipped, 3, 0)[:, None]}
    run = build_run(tmp_path / "x", loss=falling(100), steps={"skipped": skipped}, stats=stats)
    assert judged(amp_overflow, run, ScaleFound).seen == SkippedSteps(5, 100, late_skipped=0, late_steps=80)
    assert "skipped 5 steps of 100, 0 of them after" in assert_clean(amp_overflow, run)
    assert "the GradScaler skipped 5 steps" in assert_clean(non_finite, run)


def test_a_step_in_a_thousand_is_quiet(tmp_path):
    assert_clean(amp_overflow, overflowing(tmp_path / "a", 2, steps=2000))


def test_one_step_of_a_short_run_is_quiet(tmp_path):
    assert_clean(amp_overflow, overflowing(tmp_path / "a", 1))


def test_few_later_overflows_are_a_note_and_many_a_warning(tmp_path):
    assert_finds(amp_overflow, overflowing(tmp_path / "few", 3), Severity.NOTE)
    run = overflowing(tmp_path / "many", 10)
    found = judged(amp_overflow, run, Overflow)
    assert (found.seen.late_skipped, found.seen.late_steps, found.often, len(found.first)) == (10, 80, True, 5)
    finding = assert_finds(amp_overflow, run, Severity.WARNING)
    assert finding.headline == "GradScaler skips 12 % of the steps after the first fifth of the run, 10 of 80"
    assert [measure.value for measure in finding.measures] == [10 / 80]
    chart = finding.evidence[0]
    assert isinstance(chart, Lines)
    assert [mark.label for mark in chart.marks] == ["first of 10 skipped", "", "", "", ""]
    assert "the first 5 of the 10 steps skipped" in chart.caption
