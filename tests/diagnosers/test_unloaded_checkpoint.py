from gradaudit.diagnosers.unloaded_checkpoint import Loaded, Unloaded, unloaded_checkpoint
from gradaudit.findings import Severity
from gradaudit.schema import LoadFacts
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_state import load, loads, with_state
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_runs_without_a_load_and_old_ones(tmp_path):
    assert_not_applicable(unloaded_checkpoint, with_state(tmp_path / "a", loaded=0))
    assert_skipped(unloaded_checkpoint, with_state(tmp_path / "b"))
    assert_skipped(unloaded_checkpoint, build_run(tmp_path / "c", loss=falling()))


def test_loads_that_fit_are_quiet(tmp_path):
    run = with_state(tmp_path / "a", loaded=3)
    assert judged(unloaded_checkpoint, run, Loaded) == Loaded(calls=3, partial=0)
    assert assert_clean(unloaded_checkpoint, run) == "3 calls of load_state_dict"


def test_partial_loads_on_purpose_are_quiet(tmp_path):
    """Most keys match: a bias of a new head has a namesake, or one layer of another depth has."""
    assert_clean(unloaded_checkpoint, loads(tmp_path / "a", load(keys=60, matched=58, renamed=2)))
    assert_clean(unloaded_checkpoint, loads(tmp_path / "b", load(keys=12, matched=6, renamed=6)))
    assert_clean(unloaded_checkpoint, loads(tmp_path / "c", load(keys=3, matched=0, renamed=1, written=1)))


def test_models_that_are_not_trained_are_quiet(tmp_path):
    assert_clean(unloaded_checkpoint, loads(tmp_path / "a", load(trained=False)))
    assert_clean(unloaded_checkpoint, loads(tmp_path / "b", load(trained=False, renamed=0)))


def test_a_load_that_is_put_right_before_training_is_quiet(tmp_path):
    assert_clean(unloaded_checkpoint, loads(tmp_path / "a", load(written=12)))
    assert_clean(unloaded_checkpoint, loads(tmp_path / "b", load(renamed=0, missing=12, written=12)))


def test_a_prefix_is_a_warning(tmp_path):
    run = loads(tmp_path / "a", load())
    found = judged(unloaded_checkpoint, run, Unloaded)
    assert (found.fixable, found.frozen, found.facts.renamed) == (True, False, 12)
    finding = assert_finds(unloaded_checkpoint, run, Severity.WARNING)
    assert finding.headline == "None of the checkpoint's 12 keys loaded into Net: 12 fit without their prefix 'module.'"
    assert "key.removeprefix('module.')" in finding.actions[0].code


def test_frozen_tensors_are_told(tmp_path):
    assert judged(unloaded_checkpoint, loads(tmp_path / "a", load(frozen=12)), Unloaded).frozen
    assert not judged(unloaded_checkpoint, loads(tmp_path / "b", load(frozen=3)), Unloaded).frozen


def test_a_head_that_fits_and_a_backbone_that_does_not(tmp_path):
    run = loads(tmp_path / "a", load(matched=2, keys=14))
    assert judged(unloaded_checkpoint, run, Unloaded).facts.matched == 2
    assert assert_finds(unloaded_checkpoint, run, Severity.WARNING).title == "Checkpoint loaded in part"


def test_keys_of_something_else_are_a_note(tmp_path):
    run = loads(tmp_path / "a", load(renamed=0, prefix=""))
    assert not judged(unloaded_checkpoint, run, Unloaded).fixable
    assert_finds(unloaded_checkpoint, run, Severity.NOTE)
    assert_finds(unloaded_checkpoint, loads(tmp_path / "b", load(keys=1, renamed=1)), Severity.NOTE)


def test_each_bad_load_is_one_finding(tmp_path):
    other = LoadFacts(name="head", keys=4, missing=4, renamed=4, instead="encoder.", step=0, trained=True)
    assert_finds(unloaded_checkpoint, loads(tmp_path / "a", load(), other), Severity.WARNING, count=2)
