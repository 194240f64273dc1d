from gradaudit.diagnosers.replaced_parameter import Untrained, Whole, replaced_parameter
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_schedules import in_a_list, replaced, scheduled
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged


def test_nothing_replaced_is_quiet(tmp_path):
    run = scheduled(tmp_path / "a")
    assert judged(replaced_parameter, run, Whole) == Whole(8)
    assert assert_clean(replaced_parameter, run) == "8 parameter tensors in an optimizer, none replaced"


def test_layers_in_a_list_are_not_told_here(tmp_path):
    assert_clean(replaced_parameter, in_a_list(tmp_path / "a"))


def test_an_optimizer_that_hardly_steps_is_quiet(tmp_path):
    assert_clean(replaced_parameter, replaced(tmp_path / "a", optimizer=1))


def test_old_runs_are_skipped(tmp_path):
    assert_skipped(replaced_parameter, build_run(tmp_path / "a", loss=falling()))


def test_a_replaced_head_is_a_warning(tmp_path):
    run = replaced(tmp_path / "a")
    assert judged(replaced_parameter, run, Untrained).steps == 200
    finding = assert_finds(replaced_parameter, run, Severity.WARNING)
    assert finding.tensors == ["head.weight", "head.bias"]
    assert "head.weight has the shape (5, 48); the optimizer holds one of (10, 48)" in finding.explanation


def test_a_replaced_head_of_a_frozen_model_is_critical(tmp_path):
    finding = assert_finds(replaced_parameter, replaced(tmp_path / "a", without_gradient=True), Severity.CRITICAL)
    assert finding.title == "Module replaced after the optimizer"


def test_a_whole_model_is_critical(tmp_path):
    run = replaced(tmp_path / "a", without_gradient=True, missing=8, matches=8)
    finding = assert_finds(replaced_parameter, run, Severity.CRITICAL)
    assert finding.headline == "The optimizer holds 8 tensors, and none is in the model that is trained"
