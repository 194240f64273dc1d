import numpy

from gradaudit.diagnosers.train_mode_evaluation import EvaluationMode, Modes, TrainingMode, train_mode_evaluation
from gradaudit.findings import Severity
from gradaudit.schema import ModuleFacts
from tests.build import build_run
from tests.diagnosers.runs import falling, healthy
from tests.diagnosers.sick_wiring import DROPOUT, evaluated_in_training
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_evaluation_mode_is_quiet(tmp_path):
    run = healthy(tmp_path, modules=DROPOUT)
    assert judged(train_mode_evaluation, run, EvaluationMode).modes == Modes(training=0, evaluation=10, unknown=0)
    assert assert_clean(train_mode_evaluation, run) == (
        "the model is in evaluation mode in 10 of 10 evaluations of the validation loss"
    )


def test_a_first_look_in_training_mode_is_quiet(tmp_path):
    modes = (numpy.arange(10) == 0).astype(int)
    assert_clean(train_mode_evaluation, evaluated_in_training(tmp_path / "a", modes))


def test_a_model_on_which_the_mode_has_no_effect_is_not_judged(tmp_path):
    plain = [ModuleFacts(id=0, name="", module_class="Net"), ModuleFacts(id=1, name="n", module_class="LayerNorm")]
    assert_not_applicable(train_mode_evaluation, evaluated_in_training(tmp_path / "a", modules=plain))


def test_training_data_looked_at_in_training_mode_is_not_judged(tmp_path):
    assert_skipped(train_mode_evaluation, evaluated_in_training(tmp_path / "a", split="train"))


def test_a_run_without_evaluations_or_modes_could_not_be_looked_at(tmp_path):
    assert_skipped(train_mode_evaluation, build_run(tmp_path / "a", loss=falling()))
    assert_skipped(train_mode_evaluation, evaluated_in_training(tmp_path / "b", -1))


def test_validation_in_training_mode_is_a_warning(tmp_path):
    run = evaluated_in_training(tmp_path / "a")
    found = judged(train_mode_evaluation, run, TrainingMode)
    assert found.modes == Modes(training=10, evaluation=0, unknown=0)
    assert (found.held_out.split, found.clear) == ("validation", True)
    finding = assert_finds(train_mode_evaluation, run, Severity.WARNING)
    assert finding.is_measurement_issue, "the training itself is as it was"
    assert [measure.value for measure in finding.measures] == [1.0]
    assert finding.actions[0].code.startswith("model.eval()")


def test_a_split_of_unknown_purpose_is_a_note(tmp_path):
    assert_finds(train_mode_evaluation, evaluated_in_training(tmp_path / "a", split="evaluation"), Severity.NOTE)


def test_every_evaluation_is_counted_and_unknown_modes_are_told(tmp_path):
    run = healthy(tmp_path, modules=DROPOUT, evaluating=[-1, *[0] * 9])
    assert judged(train_mode_evaluation, run, EvaluationMode).modes == Modes(training=0, evaluation=9, unknown=1)
    assert assert_clean(train_mode_evaluation, run) == (
        "the model is in evaluation mode in 9 of 10 evaluations of the validation loss; the mode of 1 is not known"
    )
