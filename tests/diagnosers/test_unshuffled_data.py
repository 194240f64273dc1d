import pytest

from gradaudit.diagnosers.unshuffled_data import FewClasses, Mixed, SameOrder, unshuffled_data
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling
from tests.diagnosers.sick_data import OWN, changed, one_class_a_batch, sources
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_shuffled_batches_are_quiet(tmp_path):
    run = sources(tmp_path / "a")
    assert judged(unshuffled_data, run, Mixed).distinct == 9.6
    assert_clean(unshuffled_data, run)


@pytest.mark.parametrize("sampler", ["BalancedSampler", "BucketBatchSampler", "CurriculumSampler", "RandomSampler"])
def test_a_sampler_of_the_scripts_own_is_meant(tmp_path, sampler):
    assert_clean(unshuffled_data, one_class_a_batch(tmp_path / "a", sampler=sampler, sequential=False))


def test_one_class_and_two_are_quiet(tmp_path):
    """A single class, and binary labels of which a few batches hold one alone."""
    one = one_class_a_batch(tmp_path / "a", classes=1, distinct=1.0, shuffled_distinct=1.0)
    assert_clean(unshuffled_data, one)
    assert_clean(unshuffled_data, one_class_a_batch(tmp_path / "b", classes=2, distinct=1.8, shuffled_distinct=1.99))


def test_many_classes_and_small_batches_are_quiet(tmp_path):
    """Of 1,000 classes a batch of 8 holds 8 at most."""
    run = one_class_a_batch(tmp_path / "a", classes=1000, labels_in_batch=8, distinct=7.9, shuffled_distinct=7.97)
    assert_clean(unshuffled_data, run)


def test_a_few_batches_say_nothing(tmp_path):
    assert_clean(unshuffled_data, one_class_a_batch(tmp_path / "a", label_batches=7))


def test_no_labels_are_not_judged(tmp_path):
    run = one_class_a_batch(tmp_path / "a", label_batches=0)
    assert_not_applicable(unshuffled_data, run)


def test_a_record_without_batches_is_skipped(tmp_path):
    assert "--no-data" in unshuffled_data_enable(tmp_path)


def unshuffled_data_enable(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN)
    assert_skipped(unshuffled_data, run)
    return next(unshuffled_data.judge(run)).enable


def test_one_class_a_batch_is_a_warning(tmp_path):
    run = one_class_a_batch(tmp_path / "a")
    found = judged(unshuffled_data, run, FewClasses)
    assert (found.share, found.meant) == (pytest.approx(1.25 / 9.2), False)
    finding = assert_finds(unshuffled_data, run, Severity.WARNING)
    assert finding.headline == "A training batch holds 1.2 of 10 classes; a shuffled one would hold 9.2"
    assert finding.actions[0].code == "DataLoader(train_data, batch_size=32, shuffle=True)"


def test_sorted_binary_labels_are_a_warning(tmp_path):
    assert_finds(
        unshuffled_data,
        one_class_a_batch(tmp_path / "a", classes=2, distinct=1.02, shuffled_distinct=2.0),
        Severity.WARNING,
    )


def test_what_may_be_meant_is_a_note(tmp_path):
    stream = one_class_a_batch(tmp_path / "a", iterable=True, sampler="", sequential=False)
    assert "buffer" in assert_finds(unshuffled_data, stream, Severity.NOTE).actions[0].text
    few = {"classes": 10, "label_batches": 20, "labels_in_batch": 32, "distinct": 1.2, "shuffled_distinct": 9.2}
    own = build_run(tmp_path / "b", loss=falling(), facts=TEN, loaders=[changed(OWN, **few)])
    assert "randperm" in assert_finds(unshuffled_data, own, Severity.NOTE).actions[0].code


def test_the_same_order_in_each_epoch_is_a_note(tmp_path):
    ordered = {"sampler": "SequentialSampler", "sequential": True, "orders": 9, "same_order": 9}
    run = sources(tmp_path / "a", ordered)
    assert judged(unshuffled_data, run, SameOrder).epochs == 10
    assert_finds(unshuffled_data, run, Severity.NOTE)
    assert_clean(unshuffled_data, sources(tmp_path / "b", {**ordered, "orders": 1, "same_order": 1}))
    assert_clean(unshuffled_data, sources(tmp_path / "c", {**ordered, "batches": 10}))
