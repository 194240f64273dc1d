import numpy

from gradaudit.diagnosers.eval_mode_training import EvaluationMode, TrainingMode, eval_mode_training
from gradaudit.findings import Severity
from gradaudit.schema import ModuleFacts, TensorFacts
from tests.build import build_run
from tests.diagnosers.runs import falling, healthy
from tests.diagnosers.sick_wiring import DROPOUT, evaluating
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_training_mode_is_quiet(tmp_path):
    run = healthy(tmp_path, modules=DROPOUT)
    assert judged(eval_mode_training, run, TrainingMode) == TrainingMode(on=200, steps=200)
    assert assert_clean(eval_mode_training, run) == "the model is in training mode at 200 of 200 steps"


def test_fine_tuning_with_frozen_batch_normalisation_keeps_the_root_in_training_mode(tmp_path):
    assert_clean(eval_mode_training, build_run(tmp_path / "a", loss=falling(), modules=DROPOUT))


def test_a_few_steps_in_evaluation_mode_are_quiet(tmp_path):
    assert_clean(eval_mode_training, evaluating(tmp_path / "a", 0.1))
    training = (numpy.arange(200) % 2 == 0).astype(int)
    run = build_run(tmp_path / "b", loss=falling(), steps={"training": training}, modules=DROPOUT)
    assert_clean(eval_mode_training, run)


def test_a_model_on_which_the_mode_has_no_effect_is_not_judged(tmp_path):
    plain = [
        ModuleFacts(id=0, name="", module_class="Net"),
        ModuleFacts(id=1, name="d", module_class="Dropout", dropout=0),
    ]
    assert_not_applicable(eval_mode_training, evaluating(tmp_path / "a", modules=plain))


def frozen_body(folder, trained=(), **changes):
    """A head that is trained in evaluation mode over a frozen body with dropout and batch normalisation."""
    modules = [
        ModuleFacts(id=0, name="", module_class="Net"),
        ModuleFacts(id=1, name="body", module_class="Sequential"),
        ModuleFacts(id=2, name="body.0", module_class="Conv2d"),
        ModuleFacts(id=3, name="body.1", module_class="BatchNorm2d", batch_norm=True),
        ModuleFacts(id=4, name="body.2", module_class="Dropout", dropout=0.5),
        ModuleFacts(id=5, name="head", module_class="Linear"),
        *changes.get("more", ()),
    ]
    tensors = [
        TensorFacts(
            id=number,
            name=f"{module}.weight",
            module=module,
            role="weight",
            shape=[4, 4],
            optimizer=0 if module in ("head", *trained) else -1,
            requires_grad=module in ("head", *trained),
        )
        for number, module in enumerate(["body.0", "body.1", "head"])
    ]
    training = numpy.zeros(200, dtype=int)
    return build_run(folder, loss=falling(), steps={"training": training}, modules=modules, tensors=tensors)


def test_a_head_over_a_frozen_body_is_not_judged(tmp_path):
    assert "not trained" in assert_not_applicable(eval_mode_training, frozen_body(tmp_path / "a"))
    # What is trained as well, or has a dropout of its own, is.
    assert_finds(eval_mode_training, frozen_body(tmp_path / "b", trained=("body.1",)), Severity.WARNING)
    assert_finds(eval_mode_training, frozen_body(tmp_path / "c", trained=("body.0",)), Severity.WARNING)
    own = ModuleFacts(id=6, name="drop", module_class="Dropout", dropout=0.1)
    assert_finds(eval_mode_training, frozen_body(tmp_path / "d", more=[own]), Severity.WARNING)


def test_an_unknown_mode_is_not_judged(tmp_path):
    assert_skipped(eval_mode_training, build_run(tmp_path / "a", loss=falling(), steps={"training": -1}))


def test_evaluation_mode_throughout_is_a_warning(tmp_path):
    run = evaluating(tmp_path / "a")
    found = judged(eval_mode_training, run, EvaluationMode)
    assert (found.off, found.steps, found.share, found.since) == (200, 200, 1.0, None)
    finding = assert_finds(eval_mode_training, run, Severity.WARNING)
    assert finding.title == "Trained in evaluation mode"
    assert "1 module with dropout (0.1) and 1 batch normalisation" in finding.explanation


def test_a_missing_return_to_training_mode_is_a_warning(tmp_path):
    run = evaluating(tmp_path / "a", 0.6)
    found = judged(eval_mode_training, run, EvaluationMode)
    assert (found.since, found.ending, found.span.first) == (80, 0.6, 80)
    finding = assert_finds(eval_mode_training, run, Severity.WARNING)
    assert finding.title == "Evaluation mode since step 80"
    assert finding.headline == "The model stays in evaluation mode from step 80 on, 60 % of the run"


def test_unknown_modules_make_it_a_note(tmp_path):
    assert_finds(eval_mode_training, evaluating(tmp_path / "a", modules=[]), Severity.NOTE)
