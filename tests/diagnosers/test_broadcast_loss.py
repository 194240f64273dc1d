import pytest

from gradaudit.audit.runner import analyze, examine
from gradaudit.audit.verdict import verdict
from gradaudit.chart_data import Numbers
from gradaudit.diagnosers.broadcast_loss import Broadcast, EqualShapes, Square, broadcast_loss
from gradaudit.findings import Severity
from gradaudit.reading.run_file import RunError
from gradaudit.schema import LossFacts
from tests.build import build_run
from tests.diagnosers.runs import HEALTHY_WITH, TEN, falling, flat, healthy
from tests.diagnosers.sick_graphs import squared
from tests.diagnosers.sick_layers import stretched
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_equal_shapes_are_quiet(tmp_path):
    run = healthy(tmp_path, **HEALTHY_WITH["broadcast_loss"])
    assert judged(broadcast_loss, run, EqualShapes).functions == ("mse_loss",)
    assert_clean(broadcast_loss, run)


def test_a_loss_of_classes_has_no_such_shapes(tmp_path):
    assert_not_applicable(broadcast_loss, build_run(tmp_path / "a", loss=falling(), facts=TEN))


def test_a_record_without_shapes_cannot_be_judged(tmp_path):
    older = LossFacts(id=0, function="mse_loss")
    assert "not recorded" in assert_skipped(broadcast_loss, build_run(tmp_path / "a", loss=falling(), facts=older))


def test_a_model_that_learns_the_mean_is_critical(tmp_path):
    run = stretched(tmp_path / "a")
    found = judged(broadcast_loss, run, Broadcast)
    assert (found.shapes.prediction, found.shapes.target, found.shapes.compared) == ((32, 1), (32,), (32, 32))
    assert (found.shapes.differences, found.shapes.meant) == (1024, 32)
    assert (found.in_training, found.learns_the_mean, found.critical) == (True, True, True)
    finding = assert_finds(broadcast_loss, run, Severity.CRITICAL)
    assert finding.title == "Broadcasting in the loss"
    assert finding.headline == "The training loss broadcasts (32, 1) with (32): 1,024 differences instead of 32"
    assert (finding.measures[0].value, finding.measures[0].threshold) == (1024, 32)
    assert finding.confidence == "certain"
    assert finding.actions[0].code == "loss = torch.nn.functional.mse_loss(prediction.squeeze(1), target)"
    assert isinstance(finding.evidence[0], Numbers)
    assert finding.evidence[0].cells[2] == ["compared", "(32, 32)", "1,024"]


def test_a_model_that_learns_all_the_same_is_a_warning(tmp_path):
    """A least-squares GAN compares with ones, and then all are equal."""
    assert_finds(broadcast_loss, stretched(tmp_path / "a", stuck=False), Severity.WARNING)


@pytest.mark.parametrize(("function", "said"), [("mse_loss", "torch's warning"), ("poisson_nll_loss", "does not warn")])
def test_torch_is_said_to_warn_where_it_does(tmp_path, function, said):
    facts = LossFacts(id=0, function=function, broadcast=[[32, 1], [32]])
    finding = assert_finds(broadcast_loss, stretched(tmp_path / "a", facts=facts), Severity.WARNING)
    assert said in finding.actions[1].text


def test_an_evaluation_loss_alone_is_a_warning(tmp_path):
    run = stretched(tmp_path / "a", field="evaluation_broadcast")
    found = judged(broadcast_loss, run, Broadcast)
    assert (found.in_training, found.shapes.differences) == (False, 1024)
    finding = assert_finds(broadcast_loss, run, Severity.WARNING)
    assert finding.title == "Broadcasting in the validation loss"
    assert finding.is_measurement_issue
    assert "no_learning" not in finding.caused, "a loss without a gradient teaches nothing wrong"


def test_the_verdict_on_an_evaluation_loss_is_one_on_the_measurement(tmp_path):
    audit = analyze(stretched(tmp_path / "a", field="evaluation_broadcast"))
    assert "no_learning" in [item.diagnoser for item in audit.ranked], "no root of what the training loss shows"
    calm = analyze(stretched(tmp_path / "b", stuck=False, field="evaluation_broadcast"), select=["broadcast_loss"])
    assert verdict(calm).startswith(
        "This run is measured wrongly: broadcasting in the validation loss. The validation loss broadcasts"
    )


def test_all_pairs_that_may_be_meant_are_a_note(tmp_path):
    facts = LossFacts(id=0, function="l1_loss", reduction="none", broadcast=[[32, 1], [32]])
    run = stretched(tmp_path / "a", facts=facts)
    assert judged(broadcast_loss, run, Broadcast).all_pairs_may_be_meant
    finding = assert_finds(broadcast_loss, run, Severity.NOTE)
    assert "1,024 differences are computed where 32 were meant" in finding.explanation


def test_targets_of_zeros_and_ones_are_never_critical(tmp_path):
    """As a least-squares GAN's: a batch of ones alone is compared rightly."""
    facts = LossFacts(id=0, function="mse_loss", target_mean=0.5, target_variance=0.25, broadcast=[[32, 1], [32]])
    assert_finds(broadcast_loss, stretched(tmp_path / "a", facts=facts, loss=flat(200, 0.25)), Severity.WARNING)


@pytest.mark.parametrize(
    ("prediction", "target", "code"),
    [
        ([32], [32, 1], "mse_loss(prediction, target.squeeze(1))"),
        ([8, 1, 5], [8, 5], "mse_loss(prediction.squeeze(1), target)"),
        ([1, 8, 1], [8], "mse_loss(prediction.reshape(8), target)"),
    ],
)
def test_the_side_with_more_dimensions_is_mended(tmp_path, prediction, target, code):
    facts = LossFacts(id=0, function="mse_loss", broadcast=[prediction, target])
    finding = assert_finds(broadcast_loss, stretched(tmp_path / "a", facts=facts), Severity.WARNING)
    assert finding.actions[0].code.endswith(code)


@pytest.mark.parametrize(
    "shapes",
    [
        [[]],
        [[3]],
        [[1], [2], [3]],
        [[], []],
        [[3], [3]],
        [[3], [4]],
    ],
)
def test_shapes_of_a_hostile_record_do_not_stop_it(tmp_path, shapes):
    facts = LossFacts(id=0, function="mse_loss", broadcast=shapes)
    outcome = examine(broadcast_loss, stretched(tmp_path / "a", facts=facts))
    assert outcome.status == "clean", outcome.result


@pytest.mark.parametrize("shapes", [[[-1], [0, 0]], [[2**62, 2**62], [3]], [[1] * 100_000, [2]], [[10**18] * 300, [1]]])
def test_shapes_that_no_recorder_writes_are_refused_at_the_door(tmp_path, shapes):
    facts = LossFacts(id=0, function="mse_loss", broadcast=shapes)
    with pytest.raises(RunError, match=r"run\.json is damaged: it .* broadcast"):
        stretched(tmp_path / "a", facts=facts)


@pytest.mark.parametrize(("given", "size"), [((), 100), ((50,), 100), ((1,), 1)])
def test_no_square_is_quiet(tmp_path, given, size):
    assert_not_applicable(broadcast_loss, squared(tmp_path / "a", given, size))


@pytest.mark.parametrize(
    ("given", "words", "code"), [((100,), "(100) met (100, 1)", "advantage"), ((100, 1), "(100, 1) met (100)", "pred")]
)
def test_a_square_in_a_loss_that_a_script_writes_out_is_critical(tmp_path, given, words, code):
    run = squared(tmp_path / "a", given)
    found = judged(broadcast_loss, run, Square)
    assert (found.given, found.size) == (given, 100)
    finding = assert_finds(broadcast_loss, run, Severity.CRITICAL)
    assert finding.headline == (f"The loss averages 10,000 numbers, (100, 100), where 100 were meant: {words}")
    assert finding.actions[0].code.startswith(code)
