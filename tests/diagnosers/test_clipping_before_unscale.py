from gradaudit.diagnosers.clipping_before_unscale import ClippedScaled, ClippedUnscaled, clipping_before_unscale
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_schedules import scaled, scheduled
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_clipping_once_unscaled_is_quiet(tmp_path):
    run = scaled(tmp_path / "a", before=0)
    assert judged(clipping_before_unscale, run, ClippedUnscaled) == ClippedUnscaled(200, 200)
    assert assert_clean(clipping_before_unscale, run) == "200 of 200 scaled steps clipped, all once unscaled"


def test_a_few_steps_are_quiet(tmp_path):
    assert_clean(clipping_before_unscale, scaled(tmp_path / "a", before=10))


def test_no_scaler_and_one_that_is_not_known(tmp_path):
    assert_skipped(clipping_before_unscale, build_run(tmp_path / "a", loss=falling()))
    assert_not_applicable(clipping_before_unscale, scheduled(tmp_path / "b"))
    assert_not_applicable(clipping_before_unscale, scaled(tmp_path / "c", known=False))


def test_clipping_while_scaled_is_a_warning(tmp_path):
    run = scaled(tmp_path / "a")
    found = judged(clipping_before_unscale, run, ClippedScaled)
    assert (found.clipped, found.steps, found.late, found.scale, found.threshold) == (200, 200, 0, 65536, 1)
    finding = assert_finds(clipping_before_unscale, run, Severity.WARNING)
    assert finding.headline == "At 100 % of the steps gradients are clipped to 1 while scaled by 65,536"
    assert "scaler.unscale_(optimizer)" in finding.actions[0].code


def test_unscaling_after_clipping_is_said_so(tmp_path):
    finding = assert_finds(clipping_before_unscale, scaled(tmp_path / "a", late_unscale=200), Severity.WARNING)
    assert finding.explanation.startswith("The script calls scaler.unscale_ after clipping.")


def test_a_scale_of_one_is_a_note(tmp_path):
    assert_finds(clipping_before_unscale, scaled(tmp_path / "a", scale=1.0), Severity.NOTE)
    assert_finds(clipping_before_unscale, scaled(tmp_path / "b", scale=float("nan")))
