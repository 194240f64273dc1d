import numpy

from gradaudit.diagnosers.stale_gradient import NotZeroed, Zeroed, stale_gradient
from gradaudit.findings import Confidence, Severity
from tests.build import build_run
from tests.diagnosers.runs import falling, healthy
from tests.diagnosers.sick_wiring import never_zeroed
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged


def test_zeroed_gradients_are_quiet(tmp_path):
    run = healthy(tmp_path)
    assert judged(stale_gradient, run, Zeroed) == Zeroed(zeroed=200, known=200)
    assert assert_clean(stale_gradient, run) == "gradients were zeroed before 200 of 200 steps"


def test_accumulation_over_micro_batches_is_quiet(tmp_path):
    """Gradients are zeroed once a step, however many backward passes it has."""
    assert_clean(stale_gradient, build_run(tmp_path / "a", loss=falling(), steps={"micro_steps": 4}))


def test_a_leftover_now_and_then_is_quiet(tmp_path):
    assert_clean(stale_gradient, never_zeroed(tmp_path / "a", 0.15))


def test_what_was_not_seen_is_not_judged(tmp_path):
    assert_skipped(stale_gradient, build_run(tmp_path / "a", loss=falling(), steps={"stale": -1}))
    assert_skipped(stale_gradient, build_run(tmp_path / "b", loss=falling(2)))


def test_never_zeroed_is_critical_and_certain(tmp_path):
    run = never_zeroed(tmp_path / "a")
    found = judged(stale_gradient, run, NotZeroed)
    assert (found.stale, found.known, found.share, found.never) == (199, 199, 1.0, True)
    finding = assert_finds(stale_gradient, run, Severity.CRITICAL)
    assert finding.title == "Gradients not zeroed"
    assert [measure.value for measure in finding.measures] == [1.0, 199]
    assert finding.confidence is Confidence.CERTAIN
    assert finding.span.first == 1


def test_three_steps_suffice(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(4), steps={"stale": [-1, 1, 1, 1]})
    assert_finds(stale_gradient, run, Severity.CRITICAL)


def test_zeroing_at_every_fourth_step_is_a_warning(tmp_path):
    stale = (numpy.arange(200) % 4 != 0).astype(int)
    run = build_run(tmp_path / "a", loss=falling(), steps={"stale": stale})
    found = judged(stale_gradient, run, NotZeroed)
    assert (found.share, found.never) == (0.75, False)
    finding = assert_finds(stale_gradient, run, Severity.WARNING)
    assert finding.title == "Gradients zeroed too rarely"
    assert finding.actions[0].text == "Zero the gradients at every step, not at 25 % of them"
