from gradaudit.diagnosers.recreated_optimizer import Kept, Recreated, recreated_optimizer
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_schedules import made_anew, scheduled
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged


def test_one_optimizer_is_quiet(tmp_path):
    run = scheduled(tmp_path / "a")
    assert judged(recreated_optimizer, run, Kept) == Kept(1, 0)
    assert assert_clean(recreated_optimizer, run) == "1 optimizer, made anew without its state 0 times"


def test_phases_of_a_training_are_quiet(tmp_path):
    """Gradual unfreezing, progressive resizing and warm restarts make a few."""
    assert_clean(recreated_optimizer, made_anew(tmp_path / "a", times=4))


def test_state_that_is_loaded_and_weights_that_are_reset_are_quiet(tmp_path):
    assert_clean(recreated_optimizer, made_anew(tmp_path / "a", lost=0, loaded=7))
    assert_clean(recreated_optimizer, made_anew(tmp_path / "b", lost=0, rewritten=7))


def test_optimizers_without_state_or_that_take_turns_are_quiet(tmp_path):
    assert_clean(recreated_optimizer, made_anew(tmp_path / "a", stateful=False))
    assert_clean(recreated_optimizer, made_anew(tmp_path / "b", alternating=True))


def test_old_runs_are_skipped(tmp_path):
    assert_skipped(recreated_optimizer, build_run(tmp_path / "a", loss=falling()))


def test_an_optimizer_made_in_the_loop_is_a_warning(tmp_path):
    run = made_anew(tmp_path / "a")
    found = judged(recreated_optimizer, run, Recreated)
    assert (found.lost, found.life, round(found.remembers), found.at[0]) == (7, 25, 1000, 25)
    finding = assert_finds(recreated_optimizer, run, Severity.WARNING)
    assert finding.headline == "AdamW is made anew 7 times, about every 25 steps, and forgets its state"


def test_one_that_lasts_as_long_as_it_remembers_is_a_note(tmp_path):
    assert_finds(recreated_optimizer, made_anew(tmp_path / "a", beta=0.9), Severity.NOTE)
    assert_finds(recreated_optimizer, made_anew(tmp_path / "b", beta=1.0), Severity.NOTE)
