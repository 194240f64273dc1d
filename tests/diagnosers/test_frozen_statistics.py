from gradaudit.diagnosers.frozen_statistics import Following, Frozen, LastBatch, Unfilled, frozen_statistics
from gradaudit.findings import Severity
from gradaudit.schema import ModelStateFacts
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_state import norm, norms, twin, with_state
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged

NOTE, WARNING = Severity.NOTE, Severity.WARNING


def test_statistics_that_follow_are_quiet(tmp_path):
    run = norms(tmp_path / "a", norm(), norm(0.01), norm(None))
    found = judged(frozen_statistics, run, Following)
    assert (found.norms, round(found.share, 2)) == (3, 0.13)
    assert_clean(frozen_statistics, run)


def test_batch_normalisation_frozen_by_its_mode_is_quiet(tmp_path):
    still = [0.0, 9000.0, 3.0, 4.0]
    frozen = norm(0.1, training=False, moved=False, first=still, last=[199.0, *still[1:]])
    assert_not_applicable(frozen_statistics, norms(tmp_path / "a", frozen))
    # Set to evaluation mode in between: it counts no batches.
    later = norm(0.1, moved=False, first=still, last=[199.0, *still[1:]])
    assert_not_applicable(frozen_statistics, norms(tmp_path / "b", later))


def test_a_model_without_statistics_is_not_judged(tmp_path):
    assert_not_applicable(frozen_statistics, with_state(tmp_path / "a"))
    assert_skipped(frozen_statistics, build_run(tmp_path / "b", loss=falling(), model_state=ModelStateFacts()))
    assert_skipped(frozen_statistics, norms(tmp_path / "c", norm(0.0, 0.0, steps=10)))


def test_a_small_momentum_for_pretrained_statistics_is_quiet(tmp_path):
    loaded = norm(0.001, first=[0.0, 1.0, 3.0, 4.0], last=[199.0, 200.0, 3.1, 4.1])
    assert_clean(frozen_statistics, norms(tmp_path / "a", loaded))


def test_pretrained_statistics_that_are_kept_are_a_note(tmp_path):
    kept = norm(0.0, moved=False, first=[0.0, 9000.0, 3.0, 4.0], last=[199.0, 9199.0, 3.0, 4.0])
    finding = assert_finds(frozen_statistics, norms(tmp_path / "a", kept), NOTE)
    assert "keep their running statistics" in finding.headline


AVERAGE = {"changed": 9, "evaluated": 5, "writes_evaluated": 5, "statistics_moved": True, "plain_average": True}


def test_averages_with_statistics_that_fit_are_quiet(tmp_path):
    for name, changes in {
        "filled": {"statistics_filled": True}, "not evaluated": {"evaluated": 0}, "first copy": {"writes_evaluated": 1},
        "buffers averaged": {"plain_average": False}, "reference": {"changed": 0, "statistics_moved": False},
    }.items():  # fmt: skip
        run = with_state(tmp_path / name, norms=[norm()], copies=[twin(**{**AVERAGE, **changes})])
        assert judged(frozen_statistics, run, Following)


def test_an_average_that_is_never_filled_is_a_warning(tmp_path):
    for name, changes in {"swa": {}, "still": {"plain_average": False, "statistics_moved": False}}.items():
        run = with_state(tmp_path / name, norms=[norm()], copies=[twin(**{**AVERAGE, **changes})])
        assert judged(frozen_statistics, run, Unfilled).copy.writes_evaluated == 5
        finding = assert_finds(frozen_statistics, run, WARNING)
        assert finding.headline == "Averaged target evaluates after 5 updates with running statistics not its own"


def test_statistics_that_stay_at_their_start_are_a_warning(tmp_path):
    run = norms(tmp_path / "a", norm(0.0, 0.0), norm(0.0, 0.0, name="other"))
    found = judged(frozen_statistics, run, Frozen)
    assert (found.unmoved, found.at_start, found.share, found.batches, found.steps) == (True, True, 1.0, 199, 199)
    finding = assert_finds(frozen_statistics, run, WARNING)
    assert finding.headline == (
        "Momentum 0: 2 of 2 BatchNorm modules stay at mean 0 and variance 1 through 199 batches"
    )
    assert "momentum=0.1" in finding.actions[0].text


def test_a_momentum_too_small_for_the_run_is_a_warning(tmp_path):
    run = norms(tmp_path / "a", norm(0.001, 0.4))
    found = judged(frozen_statistics, run, Frozen)
    assert not found.unmoved
    assert round(found.share, 3) == 0.819
    assert_finds(frozen_statistics, run, WARNING)


def test_the_last_batch_alone_is_a_note(tmp_path):
    run = norms(tmp_path / "a", norm(0.99))
    assert judged(frozen_statistics, run, LastBatch).momentum == 0.99
    finding = assert_finds(frozen_statistics, run, NOTE)
    assert "momentum=0.01" in finding.actions[0].text
