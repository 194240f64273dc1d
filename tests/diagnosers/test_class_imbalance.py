import msgspec
import numpy
import pytest

from gradaudit.audit.runner import analyze
from gradaudit.chart_data import Distribution, Lines
from gradaudit.diagnosers import all_diagnosers
from gradaudit.diagnosers.class_imbalance import _WHATEVER_THE_LABELS, Imbalance, NoHarm, class_imbalance
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick_facts import uneven_labels
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_even_labels_are_quiet(tmp_path):
    run = healthy(tmp_path)
    assert judged(class_imbalance, run, NoHarm).ratio == pytest.approx(1.0, abs=0.05)
    assert assert_clean(class_imbalance, run).startswith("the most frequent class occurs 1.0 times")


def test_uneven_labels_that_the_model_copes_with_are_quiet(tmp_path):
    found = judged(class_imbalance, uneven_labels(tmp_path / "a", 0.1), NoHarm)
    assert found.apart
    assert found.gained > 0


def test_a_weighted_loss_is_quiet(tmp_path):
    assert_clean(class_imbalance, uneven_labels(tmp_path / "a", weighted=True))


def test_a_loss_above_that_of_the_frequencies_is_quiet(tmp_path):
    """It has not even learned those, so that they are not why."""
    run = uneven_labels(tmp_path / "a", 0.25)
    found = judged(class_imbalance, run, NoHarm)
    assert found.apart
    assert found.gained == pytest.approx(-0.26, abs=0.005)
    assert assert_clean(class_imbalance, run).endswith("; the loss is 26 % above what the frequencies alone give")


def test_it_never_stands_above_what_explains_the_loss(tmp_path):
    """An overfitted model whose held-out loss was never below a guess."""
    facts = LossFacts(id=0, function="cross_entropy", classes=2, label_counts=[9500, 500], label_entropy=0.1985)
    curve = [0.9, 0.75, 0.7, *numpy.linspace(0.9, 3.5, 7).tolist()]
    evaluations = [(20 * index, "validation", value) for index, value in enumerate(curve)]
    loss = falling(200, 0.9, 0.01)
    ranked = analyze(build_run(tmp_path / "a", loss=loss, facts=facts, evaluations=evaluations)).with_causes()
    causes = {item.diagnoser: cause.diagnoser if cause else "" for item, cause in ranked}
    assert causes["class_imbalance"] == "overfitting", causes


def test_what_it_follows_exists():
    assert set(_WHATEVER_THE_LABELS) < {item.name for item in all_diagnosers()} - {"no_learning", "no_signal"}


def test_vocabularies_and_other_losses_are_not_judged(tmp_path):
    words = msgspec.structs.replace(TEN, classes=5000, label_counts=[])
    assert_not_applicable(class_imbalance, build_run(tmp_path / "a", loss=flat(), facts=words))
    squares = LossFacts(id=0, function="mse_loss", target_variance=1.0)
    assert_not_applicable(class_imbalance, build_run(tmp_path / "b", loss=flat(), facts=squares))


def test_labels_that_were_not_counted_cannot_be_judged(tmp_path):
    soft = LossFacts(id=0, function="cross_entropy", classes=5, soft_targets=True)
    assert_skipped(class_imbalance, build_run(tmp_path / "a", loss=flat(), facts=soft))


def test_a_loss_at_the_frequencies_is_a_note(tmp_path):
    run = uneven_labels(tmp_path / "a")
    found = judged(class_imbalance, run, Imbalance)
    assert found.at_frequencies
    assert found.share == 0.95
    assert found.frequencies == pytest.approx(0.1985, abs=1e-3)
    assert found.loss.last == pytest.approx(0.2, abs=5e-4)
    finding = assert_finds(class_imbalance, run, Severity.NOTE)
    assert finding.title == "Class imbalance"
    assert finding.headline == (
        "One class has 95 % of the labels, and the loss ends at 0.2 (class frequencies alone: 0.199)"
    )
    assert [measure.value for measure in finding.measures] == pytest.approx([19, 0.0071, 2], rel=0.01)
    bars, loss = finding.evidence
    assert isinstance(bars, Distribution)
    assert [(entry.count, entry.flagged) for entry in bars.bins] == [(9500, True), (500, False)]
    assert isinstance(loss, Lines)
    assert [mark.label for mark in loss.marks] == ["label frequencies alone: 0.199", "uniform prediction: 0.693"]
    assert loss.marks[0].y == pytest.approx(0.1985, abs=1e-3)


def unlike(path, held_out):
    """Labels of which one class has 95 %, a loss far below that, and validation losses at `held_out`."""
    evaluations = [(step, "validation", held_out) for step in range(0, 200, 20)]
    return uneven_labels(path, 0.05, evaluations=evaluations)


def test_a_held_out_loss_below_a_guess_is_quiet(tmp_path):
    assert_clean(class_imbalance, unlike(tmp_path / "a", 0.1))


def test_validation_classes_of_other_frequencies_at_chance_level_are_a_note(tmp_path):
    run = unlike(tmp_path / "a", 3.0)
    found = judged(class_imbalance, run, Imbalance)
    assert not found.at_frequencies
    assert (found.held_out, found.chance) == (3.0, numpy.log(2))
    finding = assert_finds(class_imbalance, run, Severity.NOTE)
    assert finding.title == "Class imbalance, validation at chance"
    assert finding.measures[2].value == pytest.approx(3 / numpy.log(2), rel=1e-4)


def test_binary_targets_are_counted_by_their_mean(tmp_path):
    facts = LossFacts(id=0, function="binary_cross_entropy_with_logits", target_mean=0.05, binary_entropy=0.1985)
    run = build_run(tmp_path / "a", loss=flat(200, 0.2), facts=facts)
    bars = assert_finds(class_imbalance, run, Severity.NOTE).evidence[0]
    assert isinstance(bars, Distribution)
    assert [entry.count for entry in bars.bins] == [0.95, 0.05]
    assert bars.y_label == "share of the targets"
