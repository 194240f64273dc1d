import msgspec

from gradaudit.diagnosers.small_batch_normalization import LargeBatch, OneExample, PositionsUnknown, SmallBatch
from gradaudit.diagnosers.small_batch_normalization import small_batch_normalization as rule
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_facts import normalized, one_at_a_time
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_sixteen_examples_are_quiet(tmp_path):
    run = normalized(tmp_path / "a", 16)
    assert judged(rule, run, LargeBatch) == LargeBatch(examples=16, layers=1)
    assert assert_clean(rule, run) == "1 layer of batch normalisation, and 16 examples in a forward pass"


def test_a_model_without_it_is_not_judged(tmp_path):
    assert_not_applicable(rule, build_run(tmp_path / "a", loss=falling()))


def test_behind_a_convolution_the_positions_count_and_are_not_recorded(tmp_path):
    run = normalized(tmp_path / "a", kind="BatchNorm2d", before="Conv2d")
    assert judged(rule, run, PositionsUnknown).examples == 4
    assert_skipped(rule, run)
    assert_skipped(rule, normalized(tmp_path / "b", before="Conv1d"))


def test_one_example_at_a_time_is_a_note_where_evaluation_follows_training(tmp_path):
    """And nothing where its statistics are frozen."""
    run = one_at_a_time(tmp_path / "a", (1.2, 0.6, 0.3))
    assert not judged(rule, run, OneExample).bad
    assert_finds(rule, run, Severity.NOTE)
    assert_skipped(rule, one_at_a_time(tmp_path / "b", (2.5, 2.5, 2.5), training=False))


def test_one_example_at_a_time_is_a_warning_where_evaluation_loses_what_training_gains(tmp_path):
    run = one_at_a_time(tmp_path / "a")
    found = judged(rule, run, OneExample)
    assert found.bad
    assert found.lost > 1
    finding = assert_finds(rule, run, Severity.WARNING)
    assert finding.headline == "Batches of 1: batch norm normalises each example by itself, in 1 layer"
    assert finding.caused == ["overfitting", "no_signal"]


def test_an_unknown_batch_size_cannot_be_judged(tmp_path):
    assert_skipped(rule, normalized(tmp_path / "a", 0))


def test_frozen_normalisation_is_not_judged(tmp_path):
    assert_skipped(rule, normalized(tmp_path / "a", stats={"update_norm": 0.0, "drift_norm": 0.0}))


def test_processes_that_share_their_statistics_count_together(tmp_path):
    run = normalized(tmp_path / "a", 4, kind="SyncBatchNorm")
    object.__setattr__(run, "meta", msgspec.structs.replace(run.meta, world_size=8))
    assert judged(rule, run, LargeBatch).examples == 32


def test_four_examples_are_a_warning_and_eight_a_note(tmp_path):
    run = normalized(tmp_path / "a", 4)
    found = judged(rule, run, SmallBatch)
    assert (found.examples, found.layers) == (4, ("norm",))
    finding = assert_finds(rule, run, Severity.WARNING)
    assert finding.headline == "Batch norm computes mean and variance from 4 values per channel, in 1 layer"
    assert [measure.value for measure in finding.measures] == [4, 4]
    assert assert_finds(rule, normalized(tmp_path / "b", 8), Severity.NOTE).measures[0].value == 8


def test_accumulation_does_not_make_the_batch_larger(tmp_path):
    assert_finds(rule, normalized(tmp_path / "a", 32, steps={"micro_steps": 8}), Severity.WARNING)


def test_the_advice_names_the_layers(tmp_path):
    finding = assert_finds(rule, normalized(tmp_path / "a"))
    assert finding.actions[0].text.startswith("Replace norm with a normalisation")
