import pytest

from gradaudit.diagnosers.padded_last_step import Padded, Short, padded_last_step
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import HEALTHY_WITH, TEN, falling, healthy
from tests.diagnosers.sick_data import OWN, waiting
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_batches_that_are_sorted_by_length_are_quiet(tmp_path):
    run = healthy(tmp_path, **HEALTHY_WITH["padded_last_step"])
    assert judged(padded_last_step, run, Short).seen.share == pytest.approx(600 / 12_800)
    assert_clean(padded_last_step, run)


@pytest.mark.parametrize(
    "step",
    [
        {"padded": 310},  # most rows are whole
        {"padding": 6000},  # short padding
        {"positions": 64_000},
        {"one_id": False},  # sequences that end with runs of different ids are not padded
        {"inside": 1000},  # the id is a word, too
    ],
)
def test_little_padding_is_quiet(tmp_path, step):
    assert_clean(padded_last_step, waiting(tmp_path, **step))


def test_what_is_packed_or_no_last_step_does_not_apply(tmp_path):
    assert_not_applicable(padded_last_step, waiting(tmp_path / "a", found=0))
    assert_not_applicable(padded_last_step, build_run(tmp_path / "b", loss=falling(), facts=TEN, loaders=[OWN]))
    assert_skipped(padded_last_step, build_run(tmp_path / "c", loss=falling(), facts=TEN))


def test_a_layer_that_learned_to_wait_is_a_note(tmp_path):
    run = waiting(tmp_path, falling())
    assert judged(padded_last_step, run, Padded).left < 0.2
    assert_finds(padded_last_step, run, Severity.NOTE)


def test_a_state_behind_the_padding_is_a_warning(tmp_path):
    run = waiting(tmp_path)
    assert judged(padded_last_step, run, Padded).seen.steps == 20
    finding = assert_finds(padded_last_step, run, Severity.WARNING)
    assert all(measure.met for measure in finding.measures)
    assert assert_finds(padded_last_step, run, Severity.NOTE, unlearned=2.0)
