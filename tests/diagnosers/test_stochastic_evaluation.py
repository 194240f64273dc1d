from gradaudit.diagnosers.stochastic_evaluation import Active, stochastic_evaluation
from gradaudit.findings import Confidence, Severity
from gradaudit.schema import ModelStateFacts
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_state import active, place, with_state
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged

NOTE, WARNING = Severity.NOTE, Severity.WARNING


def test_evaluations_without_dropout_are_quiet(tmp_path):
    measured = assert_clean(stochastic_evaluation, with_state(tmp_path / "a", evaluations=40))
    assert measured == "0 calls of dropout or BatchNorm act as in training, in 40 evaluated losses"


def test_a_run_without_evaluations_is_not_judged(tmp_path):
    assert_not_applicable(stochastic_evaluation, with_state(tmp_path / "a"))


def test_a_run_of_an_earlier_version_is_skipped(tmp_path):
    assert_skipped(stochastic_evaluation, build_run(tmp_path / "a", loss=falling(), model_state=ModelStateFacts()))


def test_monte_carlo_dropout_is_a_note(tmp_path):
    """Of all dropout modules set to training mode, of passes drawn from one batch, of a flag that says so."""
    child = place(kind="child", module="drop", module_class="Dropout")
    runs = [
        active(tmp_path / "a", child, dropouts=(2, 2)),
        active(tmp_path / "b", place(calls=800, repeats=20.0)),
        active(tmp_path / "c", place(said=True)),
        active(tmp_path / "d", place(calls=4, losses=4)),
    ]
    for run in runs:
        assert judged(stochastic_evaluation, run, Active).meant
        assert_finds(stochastic_evaluation, run, NOTE)


def test_a_function_without_a_flag_is_a_warning(tmp_path):
    run = active(tmp_path / "a")
    found = judged(stochastic_evaluation, run, Active)
    assert (found.share, found.calls, found.meant, found.span.last) == (1.0, 40, False, 180)
    finding = assert_finds(stochastic_evaluation, run, WARNING)
    assert finding.confidence is Confidence.CERTAIN
    assert finding.headline == "In Net.forward, line 12: dropout drops 50 % of its values in evaluation"
    assert finding.actions[0].code == "F.dropout(x, p=0.5, training=self.training)"


def test_dropout_made_where_it_is_called_belongs_into_the_constructor(tmp_path):
    finding = assert_finds(
        stochastic_evaluation, active(tmp_path / "a", place(kind="unregistered", module_class="Dropout")), WARNING
    )
    assert "a Dropout outside of the model" in finding.headline
    assert "self.drop = nn.Dropout(0.5)" in finding.actions[0].code


def test_a_child_left_in_training_mode_is_a_warning(tmp_path):
    child = place(kind="child", module="body.drop", module_class="Dropout")
    finding = assert_finds(stochastic_evaluation, active(tmp_path / "a", child, dropouts=(1, 2)), WARNING)
    assert finding.headline == "Module body.drop stays in training mode and drops 50 % of its values in 40 calls"
    assert "body.drop" in finding.actions[0].text


def test_attention_has_no_flag(tmp_path):
    run = active(tmp_path / "a", place(function="scaled_dot_product_attention", probability=0.1))
    assert (
        assert_finds(stochastic_evaluation, run, WARNING).actions[0].code == "dropout_p=0.1 if self.training else 0.0"
    )


def test_batch_normalisation_is_named_where_it_is_the_only_one(tmp_path):
    child = place(function="batch_norm", kind="child", module="norm", module_class="BatchNorm1d", probability=0.0)
    finding = assert_finds(stochastic_evaluation, active(tmp_path / "a", child), WARNING)
    assert finding.title == "BatchNorm trains in evaluation"
    assert "normalises by the batch" in finding.headline


def test_what_is_meant_and_what_is_not_are_two_findings(tmp_path):
    run = active(tmp_path / "a", place(), place(said=True, line=20))
    assert_finds(stochastic_evaluation, run, WARNING, count=2)
