import msgspec
import pytest

from gradaudit.diagnosers.validation_better_than_train import NotBelow, TooFewEvaluations, ValidationBelow
from gradaudit.diagnosers.validation_better_than_train import validation_better_than_train as rule
from gradaudit.findings import Confidence, Severity
from gradaudit.schema import LossFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, healthy
from tests.diagnosers.sick_facts import DROPOUT, NET, easy_validation
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_a_held_out_loss_above_the_training_loss_is_quiet(tmp_path):
    run = healthy(tmp_path, modules=NET)
    found = judged(rule, run, NotBelow)
    assert found.below < 0
    assert found.train.running
    assert "above the training loss (running)" in assert_clean(rule, run)


def test_a_little_below_is_quiet(tmp_path):
    assert_clean(rule, easy_validation(tmp_path / "a", 0.1))


def test_smoothing_raises_the_training_loss_and_is_not_compared(tmp_path):
    facts = msgspec.structs.replace(TEN, label_smoothing=0.1)
    assert_skipped(rule, easy_validation(tmp_path / "a", facts=facts))


def test_dropout_raises_the_training_loss_and_may_double_it(tmp_path):
    assert_clean(rule, easy_validation(tmp_path / "a", 0.6, modules=DROPOUT))


def test_dropout_that_takes_most_of_what_is_learned_is_a_note(tmp_path):
    run = easy_validation(tmp_path / "a", 0.8, modules=DROPOUT)
    found = judged(rule, run, ValidationBelow)
    assert found.train.noisy
    assert found.below_where_lower > 0.7
    finding = assert_finds(rule, run, Severity.NOTE)
    assert (finding.measures[1].option, finding.measures[1].value) == ("noise", found.below_where_lower)
    assert any("Halve the dropout" in action.text for action in finding.actions)


def test_few_evaluations_cannot_be_judged(tmp_path):
    run = easy_validation(tmp_path / "a", every=50)
    assert judged(rule, run, TooFewEvaluations).finite == 2
    assert_skipped(rule, run)
    assert_skipped(rule, build_run(tmp_path / "b", loss=falling()))


def test_losses_of_unknown_level_are_not_judged(tmp_path):
    assert_not_applicable(rule, easy_validation(tmp_path / "a", facts=LossFacts(id=0, function="logged")))


def test_a_held_out_loss_far_below_is_a_note_of_low_confidence(tmp_path):
    run = easy_validation(tmp_path / "a")
    found = judged(rule, run, ValidationBelow)
    assert (found.lower, found.evaluations, found.share) == (5, 5, 1.0)
    assert found.validation == pytest.approx((1 - found.below) * found.training, rel=0.05)
    assert assert_finds(rule, run, Severity.NOTE).confidence is Confidence.LOW


def test_augmentation_is_the_first_thing_to_ask_after(tmp_path):
    """Examples that are in both sets make the losses alike; they put none below the other."""
    finding = assert_finds(rule, easy_validation(tmp_path / "a"))
    assert finding.actions[0].text.startswith("If the training data is augmented or mixed, this is as it should be")
    assert "training inputs are harder, as augmentation and mixup make them" in finding.explanation
