import math

import msgspec
import numpy
import pytest

from gradaudit.chart_data import Distribution, Lines
from gradaudit.diagnosers.no_learning import Broken, Learned, NothingLearned, Unsettled, no_learning
from gradaudit.evidence.words.run_facts import run_facts
from gradaudit.findings import Severity
from gradaudit.schema import DataFacts, LossFacts, ModuleFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, healthy, loss_input
from tests.diagnosers.sick_gradients import diverging, stuck
from tests.diagnosers.sick_layers import silent_prediction
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_a_falling_loss_is_quiet(tmp_path):
    run = healthy(tmp_path)
    assert judged(no_learning, run, Learned).ending.constant == pytest.approx(math.log(10))
    assert "a constant prediction gives 2.30" in assert_clean(no_learning, run)


def test_a_loss_that_still_falls_is_quiet(tmp_path):
    run = build_run(tmp_path / "a", loss=numpy.linspace(2.9, 2.30, 300), facts=TEN)
    found = judged(no_learning, run, Unsettled)
    assert (found.falling, found.gained) == (True, pytest.approx(0.083, abs=5e-4))
    assert "still falling, by 8.3 % of its start" in assert_skipped(no_learning, run)


def test_imbalanced_labels_have_a_lower_entropy_to_beat(tmp_path):
    facts = msgspec.structs.replace(TEN, classes=2, label_counts=[900, 100], label_entropy=0.325)
    assert_clean(no_learning, stuck(tmp_path / "a", level=0.25, facts=facts))
    assert_finds(no_learning, stuck(tmp_path / "b", level=0.325, facts=facts), Severity.NOTE)


def test_a_loss_on_another_scale_that_falls_is_quiet(tmp_path):
    facts = LossFacts(id=0, function="mse_loss", target_variance=0.01)
    run = build_run(tmp_path / "a", loss=falling(300, 1.0, 0.3), facts=facts)
    ending = judged(no_learning, run, Unsettled).ending
    assert (ending.last, ending.constant) == (pytest.approx(0.301, abs=5e-4), 0.01)
    assert_skipped(no_learning, run)
    early = numpy.concatenate([falling(100, 1.0, 0.3), flat(200, 0.3)])
    run = build_run(tmp_path / "b", loss=early, facts=facts)
    found = judged(no_learning, run, Unsettled)
    assert (found.falling, found.first) == (False, pytest.approx(1.0, abs=5e-3))
    assert assert_skipped(no_learning, run).endswith("and yet it has fallen from 1.00")


def test_what_diverges_is_left_to_divergence(tmp_path):
    run = diverging(tmp_path / "a")
    assert not judged(no_learning, run, Broken).non_finite
    assert assert_not_applicable(no_learning, run).endswith("and it rose: see divergence")
    loss = falling(300)
    loss[200:] = numpy.nan
    run = build_run(tmp_path / "b", loss=loss, facts=TEN)
    found = judged(no_learning, run, Broken)
    assert found.non_finite
    assert math.isnan(found.ending.last)
    reason = assert_not_applicable(no_learning, run)
    assert "ends at NaN or infinity" in reason
    assert reason.endswith("see non_finite")


def test_unknown_labels_and_short_runs_cannot_be_judged(tmp_path):
    assert_skipped(no_learning, stuck(tmp_path / "a", facts=LossFacts(id=0, function="cross_entropy", classes=9)))
    assert_skipped(no_learning, stuck(tmp_path / "b", steps=99))


def test_losses_of_unknown_level_are_not_judged(tmp_path):
    assert_not_applicable(no_learning, stuck(tmp_path / "a", facts=LossFacts(id=0, function="logged")))


def test_contrastive_losses_are_not_judged(tmp_path):
    facts = LossFacts(id=0, function="cross_entropy", classes=32, label_counts=[300] * 32, label_entropy=math.log(32))
    assert_not_applicable(no_learning, stuck(tmp_path / "a", level=math.log(32), facts=facts))


def test_the_loss_is_drawn_against_the_label_counts(tmp_path):
    facts = msgspec.structs.replace(TEN, classes=2, label_counts=[900, 100], label_entropy=0.325)
    loss, bars = assert_finds(no_learning, stuck(tmp_path / "a", level=0.325, facts=facts)).evidence
    assert isinstance(loss, Lines)
    assert [mark.label for mark in loss.marks] == ["label frequencies alone: 0.325", "uniform prediction: 0.693"]
    assert isinstance(bars, Distribution)
    assert [entry.count for entry in bars.bins] == [900, 100]
    assert not any(entry.flagged for entry in bars.bins)


def test_labels_that_were_not_counted_or_are_a_vocabulary_have_no_bars(tmp_path):
    words = msgspec.structs.replace(TEN, classes=500, label_counts=[10] * 500, label_entropy=math.log(500))
    (loss,) = assert_finds(no_learning, stuck(tmp_path / "a", level=math.log(500), facts=words)).evidence
    assert isinstance(loss, Lines)
    assert [mark.label for mark in loss.marks] == ["label frequencies alone: 6.21"]
    squares = LossFacts(id=0, function="mse_loss", target_variance=0.04)
    (loss,) = assert_finds(no_learning, stuck(tmp_path / "b", level=0.04, facts=squares)).evidence
    assert isinstance(loss, Lines)
    assert [mark.label for mark in loss.marks] == ["always the mean of the target: 0.04"]


def test_before_five_epochs_it_is_a_note(tmp_path):
    assert assert_finds(no_learning, stuck(tmp_path / "a"), Severity.NOTE).title == "No learning yet"
    assert_finds(no_learning, stuck(tmp_path / "b", epochs=3), Severity.NOTE)


def test_an_input_that_does_not_reach_the_output_is_a_warning_at_once(tmp_path):
    same = silent_prediction(tmp_path / "a", 0.02)
    outputs = judged(no_learning, same, NothingLearned).outputs
    assert (outputs.same, outputs.equal) == (True, False)
    assert_finds(no_learning, same, Severity.NOTE)
    equal = silent_prediction(tmp_path / "b", 0.002)
    outputs = judged(no_learning, equal, NothingLearned).outputs
    assert (outputs.same, outputs.equal) == (True, True)
    finding = assert_finds(no_learning, equal, Severity.WARNING)
    assert finding.title == "Constant prediction"
    assert "Some healthy models" not in finding.explanation


@pytest.mark.parametrize(("batches", "said"), [(312_500_000, ""), (10**6, ""), (3000, ", 0.1 epochs")])
def test_epochs_that_no_one_believes_are_not_told(tmp_path, batches, said):
    """A sampler of ten thousand million draws ends no epoch, and a millionth of one says nothing."""
    data = DataFacts(batch_size=32, batches_per_epoch=batches)
    run = build_run(tmp_path / "a", loss=flat(300, 2.303), data=data, facts=TEN)
    finding = assert_finds(no_learning, run, Severity.NOTE)
    assert ("epochs" in finding.explanation) == bool(said)
    assert f"after 300 steps{said}" in finding.explanation
    assert ("batches per epoch" in str(run_facts(run))) == (batches < 10**8)


def test_after_five_epochs_it_is_critical(tmp_path):
    run = stuck(tmp_path / "a", epochs=6)
    found = judged(no_learning, run, NothingLearned)
    assert (found.epochs, found.late, found.may_be_meant) == (6, True, False)
    finding = assert_finds(no_learning, run, Severity.CRITICAL)
    assert finding.title == "Model does not learn"
    assert finding.headline == "The loss ends at 2.30; predicting the label frequencies gives 2.30"
    assert finding.measures[0].value == pytest.approx(1.0, abs=1e-3)
    assert finding.measures[1].value == 6


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_the_loss_changes_nothing(tmp_path, scale):
    facts = LossFacts(id=0, function="mse_loss", target_variance=scale)
    assert_finds(no_learning, stuck(tmp_path / "a", level=scale, epochs=6, facts=facts), Severity.CRITICAL)


def test_outputs_that_differ_over_a_batch_are_told_from_a_constant_prediction(tmp_path):
    run = silent_prediction(tmp_path / "a", 0.8)
    outputs = judged(no_learning, run, NothingLearned).outputs
    assert (outputs.spread, outputs.same) == (pytest.approx(0.8), False)
    assert "differ by 0.8 of a logit, so they depend on the input" in assert_finds(no_learning, run).explanation
    run = silent_prediction(tmp_path / "b", 1e-4)
    outputs = judged(no_learning, run, NothingLearned).outputs
    assert (outputs.most_frequent, outputs.share, outputs.best) == (0, 0.1, True)
    same = assert_finds(no_learning, run)
    assert (
        "nearly the same for every input, the frequencies of the labels, class 0 first (10 % of the labels)"
        in same.explanation
    )
    assert same.actions[0].text.startswith("Find where the input is lost")


def test_a_regression_that_predicts_the_mean_is_told_in_units_of_its_target(tmp_path):
    facts = LossFacts(id=0, function="mse_loss", target_mean=150.0, target_variance=6400.0)
    run = silent_prediction(tmp_path / "a", 2.0, facts, level=6400.0)
    outputs = judged(no_learning, run, NothingLearned).outputs
    assert (outputs.spread, outputs.same, outputs.best) == (pytest.approx(0.025), True, True)
    assert (
        "0.025 standard deviations of the target: the prediction is nearly the same for every input, the mean"
        in assert_finds(no_learning, run).explanation
    )
    other = silent_prediction(tmp_path / "c", 2.0, facts, level=4 * 6400.0)
    outputs = judged(no_learning, other, NothingLearned).outputs
    assert (outputs.same, outputs.best) == (True, False), "it is another constant than the mean"
    assert "the prediction is nearly the same for every input." in assert_finds(no_learning, other).explanation
    quiet = silent_prediction(tmp_path / "b", 40.0, facts, level=6400.0)
    assert not judged(no_learning, quiet, NothingLearned).outputs.same


def test_without_samples_nothing_is_said_of_the_outputs(tmp_path):
    run = stuck(tmp_path / "a")
    assert math.isnan(judged(no_learning, run, NothingLearned).outputs.spread)
    assert "over a batch" not in assert_finds(no_learning, run).explanation.lower()


def _reconstruction(path, rest, modules=(), level=0.074, samples=()):
    """A mean squared error that stays at that of the mean of each output, beside `rest` of the same objective."""
    facts = LossFacts(id=0, function="mse_loss", target_variance=0.141, output_variance=0.074)
    loss = flat(300, level)
    steps = {"objective": loss + rest}
    names = [ModuleFacts(id=number, name=name, module_class="Linear") for number, name in enumerate(modules)]
    data = DataFacts(batch_size=32, batches_per_epoch=50)
    return build_run(path, loss=loss, facts=facts, steps=steps, modules=names, data=data, samples=list(samples))


def test_a_posterior_that_collapsed_is_named(tmp_path):
    rest = 0.05 * numpy.exp(-numpy.arange(300) / 10)
    run = _reconstruction(tmp_path / "a", rest, ["enc", "mu", "logvar"])
    found = judged(no_learning, run, NothingLearned)
    assert found.other_terms is not None
    assert found.other_terms.first == pytest.approx(0.40, abs=5e-3)
    assert found.other_terms.last < 1e-3
    assert (found.other_terms.latent, found.may_be_meant) == (True, False)
    finding = assert_finds(no_learning, run, Severity.CRITICAL)
    assert finding.title == "Posterior collapse"
    assert finding.headline == "The loss ends at 0.074; predicting the mean of the target gives 0.074"
    assert "40 % of it at first, less than 0.1 % at the end" in finding.explanation
    assert 'reduction="sum"' in finding.actions[0].code
    finding = assert_finds(no_learning, _reconstruction(tmp_path / "b", rest, ["fc21"]), Severity.CRITICAL)
    assert finding.title == "Loss outweighed by other terms"


def test_outputs_of_a_code_that_is_drawn_differ_whatever_the_input_is(tmp_path):
    rest = 0.05 * numpy.exp(-numpy.arange(300) / 10)
    samples = [loss_input(step, batch_spread=0.06 * 0.141**0.5) for step in range(0, 300, 10)]
    drawn = _reconstruction(tmp_path / "a", rest, ["mu"], samples=samples)
    assert not judged(no_learning, drawn, NothingLearned).outputs.same
    assert "depend on the input" not in assert_finds(no_learning, drawn, Severity.CRITICAL).explanation
    alone = assert_finds(no_learning, _reconstruction(tmp_path / "b", 0 * rest, samples=samples), Severity.CRITICAL)
    assert "differ by 0.06 standard deviations of the target, so they depend on the input" in alone.explanation


def test_a_term_that_stays_beside_others_is_at_most_a_warning(tmp_path):
    """A domain classifier behind a reversed gradient is meant to know nothing."""
    run = _reconstruction(tmp_path / "a", numpy.linspace(0.01, 0.5, 300))
    assert judged(no_learning, run, NothingLearned).may_be_meant
    finding = assert_finds(no_learning, run, Severity.WARNING)
    assert finding.title == "Loss term does not improve"
    assert finding.headline.startswith("The mse_loss term ends at 0.074;")


def test_the_mean_of_each_output_is_the_constant_to_beat(tmp_path):
    """A loss between the two variances has learned which pixels are dark, and nothing of the images."""
    facts = LossFacts(id=0, function="mse_loss", target_variance=0.141, output_variance=0.074)
    assert_finds(no_learning, stuck(tmp_path / "a", epochs=6, level=0.0745, facts=facts), Severity.CRITICAL)
    assert_clean(no_learning, stuck(tmp_path / "b", epochs=6, level=0.05, facts=facts))
