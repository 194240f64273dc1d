import numpy
import pytest

from gradaudit.audit.runner import analyze
from gradaudit.diagnosers.single_example_batch import Broke, NoHarm, Normalised, single_example_batch
from gradaudit.findings import Severity
from gradaudit.schema import DataFacts, ModuleFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, healthy
from tests.diagnosers.sick_outputs import one_example
from tests.diagnosers.verbs import (
    assert_clean,
    assert_finds,
    assert_not_applicable,
    assert_skipped,
    judged,
    without_finding,
)

NORM = [ModuleFacts(id=0, name="norm", module_class="BatchNorm2d", batch_norm=True)]


def of_sizes(path, sizes, **changes):
    loss = changes.pop("loss", falling(len(sizes)))
    return build_run(path, loss=loss, facts=TEN, steps={"batch_size": sizes, **changes.pop("steps", {})}, **changes)


def last_of_ten():
    """[100] sizes: the last batch of each epoch of ten holds one example."""
    return numpy.where(numpy.arange(100) % 10 == 9, 1, 32)


def test_batches_of_one_size_are_quiet(tmp_path):
    assert judged(single_example_batch, healthy(tmp_path / "a"), NoHarm) == NoHarm(smallest=32, singles=0)
    assert_clean(single_example_batch, healthy(tmp_path / "b", modules=NORM))


def test_one_example_without_harm_is_quiet(tmp_path):
    run = of_sizes(tmp_path, last_of_ten())
    assert judged(single_example_batch, run, NoHarm) == NoHarm(smallest=1, singles=10)
    assert_clean(single_example_batch, run)


def test_a_training_on_single_examples_is_not_judged(tmp_path):
    assert_not_applicable(single_example_batch, of_sizes(tmp_path / "a", numpy.ones(100, int), modules=NORM))
    assert_not_applicable(single_example_batch, of_sizes(tmp_path / "b", numpy.arange(100) % 3 + 1, modules=NORM))


def test_accumulation_over_single_examples_is_quiet(tmp_path):
    sizes = numpy.full(100, 32)
    assert_clean(single_example_batch, of_sizes(tmp_path, sizes, steps={"micro_steps": 32}, modules=NORM))


def test_nan_elsewhere_is_left_to_others(tmp_path):
    loss = falling(100)
    loss[65:] = numpy.nan
    without_finding(single_example_batch, of_sizes(tmp_path / "a", last_of_ten(), loss=loss))
    diverged = numpy.concatenate([falling(60), numpy.geomspace(3, 1e5, 19), numpy.full(21, numpy.nan)])
    without_finding(single_example_batch, of_sizes(tmp_path / "b", last_of_ten(), loss=diverged))


def test_without_batch_sizes_nothing_is_known(tmp_path):
    assert_skipped(single_example_batch, of_sizes(tmp_path, numpy.zeros(100, int)))


def test_nan_from_a_batch_of_one_example_is_critical(tmp_path):
    run = one_example(tmp_path)
    found = judged(single_example_batch, run, Broke)
    assert (found.step, found.singles, found.batch.usual, found.ends_epoch) == (60, 1, 32, False)
    assert found.loss_before == pytest.approx(2.1, abs=0.1)
    finding = assert_finds(single_example_batch, run, Severity.CRITICAL)
    assert finding.actions[0].code.startswith("if len(x) > 1:")
    assert all(measure.met for measure in finding.measures)


def test_the_last_batch_of_an_epoch_is_left_out(tmp_path):
    run = one_example(tmp_path, data=DataFacts(batch_size=32, batches_per_epoch=61))
    assert judged(single_example_batch, run, Broke).ends_epoch
    assert "drop_last=True" in assert_finds(single_example_batch, run).actions[0].code


def test_nan_that_passes_is_a_warning(tmp_path):
    loss, sizes = falling(100), numpy.full(100, 32)
    loss[60], sizes[60] = numpy.nan, 1
    run = of_sizes(tmp_path, sizes, loss=loss)
    assert judged(single_example_batch, run, Broke).recovered
    assert_finds(single_example_batch, run, Severity.WARNING)


def test_batch_normalisation_of_one_example_is_a_note(tmp_path):
    run = of_sizes(tmp_path, last_of_ten(), modules=NORM, data=DataFacts(batch_size=32, batches_per_epoch=10))
    found = judged(single_example_batch, run, Normalised)
    assert (found.singles, found.usual, found.layers, found.ends_epoch) == (10, 32, 1, True)
    assert_finds(single_example_batch, run, Severity.NOTE)


def test_it_explains_the_nan(tmp_path):
    ranked = [
        (item.diagnoser, cause and cause.diagnoser) for item, cause in analyze(one_example(tmp_path)).with_causes()
    ]
    assert ranked[:2] == [("single_example_batch", None), ("non_finite", "single_example_batch")]
