import math

import msgspec
import numpy
import pytest

from gradaudit.audit.runner import analyze
from gradaudit.diagnosers.no_signal import Broken, NoSignal, Signal, StillFalling, no_signal
from gradaudit.findings import Severity
from gradaudit.schema import DataFacts, LossFacts
from gradaudit.signals.evaluation.memorisation import Memorisation
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick_layers import without_signal
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_a_held_out_loss_that_falls_is_quiet(tmp_path):
    run = healthy(tmp_path)
    found = judged(no_signal, run, Signal)
    assert found.best.constant == pytest.approx(math.log(10))
    assert not found.broke
    assert "a constant prediction gives 2.30" in assert_clean(no_signal, run)


def test_a_model_that_starts_slowly_but_gains_is_quiet(tmp_path):
    run = without_signal(tmp_path / "a", gain=0.1)
    assert judged(no_signal, run, StillFalling).gained > 0.005
    assert_skipped(no_signal, run)


def test_a_pretrained_model_is_quiet(tmp_path):
    assert_clean(no_signal, without_signal(tmp_path / "a", held_out=0.4))


def test_overfitting_after_a_good_best_is_left_to_its_rule(tmp_path):
    evaluations = [(step, "validation", 2.3 if step == 0 else 1.8 + step / 300) for step in range(0, 300, 30)]
    assert_clean(no_signal, build_run(tmp_path / "a", loss=falling(300), evaluations=evaluations, facts=TEN))


def test_uneven_labels_have_a_lower_entropy_to_beat(tmp_path):
    facts = msgspec.structs.replace(TEN, classes=2, label_counts=[900, 100], label_entropy=0.325)
    assert_clean(no_signal, without_signal(tmp_path / "a", held_out=0.25, facts=facts))
    assert_finds(no_signal, without_signal(tmp_path / "b", held_out=0.33, facts=facts), Severity.NOTE)


def test_what_diverges_is_left_to_divergence(tmp_path):
    loss = falling(300)
    loss[150:] = 40
    run = without_signal(tmp_path / "a", loss=loss)
    assert not judged(no_signal, run, Broken).non_finite
    assert "see divergence" in assert_not_applicable(no_signal, run)
    better = without_signal(tmp_path / "b", held_out=1.0, loss=loss)
    assert judged(no_signal, better, Signal).broke
    assert_clean(no_signal, better)


def test_unknown_levels_and_few_evaluations_cannot_be_judged(tmp_path):
    unknown = LossFacts(id=0, function="cross_entropy", classes=10)
    assert_skipped(no_signal, without_signal(tmp_path / "a", facts=unknown))
    two = [(0, "validation", 2.4), (200, "validation", 2.4)]
    assert_skipped(no_signal, build_run(tmp_path / "b", loss=falling(300), evaluations=two, facts=TEN))
    unnamed = [(step, split, 2.4) for step in range(0, 300, 30) for split in ("a", "b")]
    assert_skipped(no_signal, build_run(tmp_path / "c", loss=falling(300), evaluations=unnamed, facts=TEN))
    assert_skipped(no_signal, build_run(tmp_path / "d", loss=falling(300), facts=TEN))


def test_losses_of_unknown_level_are_not_judged(tmp_path):
    assert_not_applicable(no_signal, without_signal(tmp_path / "a", facts=LossFacts(id=0, function="logged")))
    contrastive = LossFacts(
        id=0, function="cross_entropy", classes=32, label_counts=[300] * 32, label_entropy=math.log(32)
    )
    assert_not_applicable(no_signal, without_signal(tmp_path / "b", held_out=3.5, facts=contrastive))


def test_before_five_epochs_it_is_a_note(tmp_path):
    run = without_signal(tmp_path / "a")
    found = judged(no_signal, run, NoSignal)
    assert found.memorisation is not None
    assert not found.late
    finding = assert_finds(no_signal, run, Severity.NOTE)
    assert finding.title == "Validation loss at chance level"
    assert finding.headline == (
        "The validation loss never falls below 2.40; predicting the training labels' frequencies gives 2.30"
    )
    assert finding.measures[0].value == pytest.approx(2.4 / math.log(10))


def test_after_five_epochs_it_is_critical_where_training_stays_too(tmp_path):
    run = without_signal(tmp_path / "a", loss=flat(300), epochs=6)
    found = judged(no_signal, run, NoSignal)
    assert (found.epochs, found.late, found.learned_nothing) == (6, True, True)
    assert_finds(no_signal, run, Severity.CRITICAL)


def test_held_out_labels_may_be_distributed_otherwise_while_training_learns(tmp_path):
    facts = msgspec.structs.replace(TEN, classes=2, label_counts=[950, 50], label_entropy=0.199)
    run = without_signal(tmp_path / "a", held_out=0.6, epochs=6, facts=facts, loss=falling(300) * 0.08)
    found = judged(no_signal, run, NoSignal)
    assert not found.learned_nothing
    assert not found.never_generalised
    finding = assert_finds(no_signal, run, Severity.NOTE)
    assert "with another distribution" in finding.explanation


def test_a_training_loss_that_stays_there_too_is_said(tmp_path):
    run = without_signal(tmp_path / "a", loss=flat(300))
    found = judged(no_signal, run, NoSignal)
    assert found.learned_nothing
    assert found.memorisation is None
    assert "does not get below it, either" in assert_finds(no_signal, run).explanation


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_the_loss_changes_nothing(tmp_path, scale):
    facts = LossFacts(id=0, function="mse_loss", target_variance=scale)
    run = without_signal(tmp_path / "a", held_out=1.02 * scale, loss=scale * numpy.linspace(1, 0.4, 300), facts=facts)
    finding = assert_finds(no_signal, run, Severity.NOTE)
    assert finding.title == "Validation no better than the mean"
    assert finding.measures[0].value == pytest.approx(1.02)


def memorised(path, epochs=6):
    """The training loss falls, and the validation one rises from the first evaluation on."""
    evaluations = [(step, "validation", 2.4 + step / 200) for step in range(0, 300, 30)]
    data = DataFacts(batch_size=32, batches_per_epoch=300 // epochs)
    return build_run(path, loss=falling(300), evaluations=evaluations, data=data, facts=TEN)


def test_what_is_memorised_and_never_generalises_is_a_warning_and_explains_overfitting(tmp_path):
    run = memorised(tmp_path / "a")
    found = judged(no_signal, run, NoSignal)
    assert found.never_generalised
    assert found.memorisation == Memorisation(rising=True, unseen=False)
    finding = assert_finds(no_signal, run, Severity.WARNING)
    assert finding.title == "Memorisation without generalisation"
    assert not any("16 examples" in action.text for action in finding.actions)
    assert_finds(no_signal, memorised(tmp_path / "b", epochs=3), Severity.NOTE)
    (root,) = analyze(run, select=["no_signal", "overfitting"]).ranked
    assert root.diagnoser == "no_signal"
    assert [below.diagnoser for below in root.consequences] == ["overfitting"]


def test_a_last_test_is_no_second_validation(tmp_path):
    evaluations = [*((step, "evaluation", 2.4) for step in range(29, 300, 30)), (299, "evaluation 2", 0.4)]
    run = build_run(tmp_path / "a", loss=falling(300), evaluations=evaluations, facts=TEN)
    best = judged(no_signal, run, NoSignal).best
    assert (best.split, best.loss) == ("validation", 2.4)
    assert_finds(no_signal, run)


def by_heart_before(first: int) -> dict:
    """Few examples that are memorised within fifty steps; evaluated from step `first` on, where it is worst."""
    loss = 0.01 + 2.3 * numpy.exp(-numpy.arange(300) / 20)
    evaluations = [(step, "validation", 2.5 + step / 100) for step in range(first, 300, 30)]
    return {"loss": loss, "evaluations": evaluations, "facts": TEN, "data": DataFacts(batches_per_epoch=2)}


def test_what_was_learned_before_the_first_evaluation_stands_under_overfitting(tmp_path):
    late = build_run(tmp_path / "a", **by_heart_before(59))
    found = judged(no_signal, late, NoSignal)
    assert found.memorisation == Memorisation(rising=True, unseen=True)
    assert found.steps[0] == 59
    finding = assert_finds(no_signal, late, Severity.WARNING)
    assert "It already does so at the first evaluation, after step 59: whether it generalised" in finding.explanation
    [first] = [item for item in analyze(late).ranked if item.diagnoser in ("no_signal", "overfitting")]
    assert first.diagnoser == "overfitting"
    assert "no_signal" in [item.diagnoser for item in first.consequences]


def test_a_model_that_never_knew_anything_stands_above_overfitting(tmp_path):
    early = build_run(tmp_path / "a", **by_heart_before(0))
    assert judged(no_signal, early, NoSignal).memorisation == Memorisation(rising=True, unseen=False)
    assert_finds(no_signal, early, Severity.WARNING)
    [first] = [item for item in analyze(early).ranked if item.diagnoser in ("no_signal", "overfitting")]
    assert first.diagnoser == "no_signal"
    assert "overfitting" in [item.diagnoser for item in first.consequences]
