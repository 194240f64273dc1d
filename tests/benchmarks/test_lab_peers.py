"""The baselines fire on what they name and are silent below it; a log of scalars holds what users log."""

import numpy
import pytest

from benchmarks.lab.configuration import SCRIPTS
from benchmarks.lab.peers import alarms, scalar_log, trains_here
from benchmarks.lab.peers_live import START
from benchmarks.lab.thresholds import AUTOTRAINER, SAGEMAKER, fired
from gradaudit.schema import LossFacts
from tests.build import build_run

SMD, AUTO = "SageMaker Debugger (thresholds)", "AutoTrainer (thresholds)"
QUIET = {"gradient_norm": 1.0, "update_norm": 1e-3, "weight_norm": 1.0, "unchanged_fraction": 0.0}
FALLING = 2 * 0.99 ** numpy.arange(60)


def said(path, loss=FALLING, stats=None, **more):
    return fired(build_run(path / "run", loss=loss, stats={**QUIET, **(stats or {})}, **more))


def column(values):
    """[60 steps, 8 tensors] with these values in the first tensor, a weight, and 1 elsewhere."""
    matrix = numpy.ones((60, 8))
    matrix[:, 0] = values
    return matrix


def test_a_smoothly_falling_run_alarms_neither(tmp_path):
    evaluations = [(step, "validation", 2 * 0.99**step) for step in range(0, 60, 10)]
    assert said(tmp_path, evaluations=evaluations) == {SMD: [], AUTO: []}


@pytest.mark.parametrize(
    ("tool", "rule", "more"),
    [
        (SMD, "VanishingGradient", {"stats": {"gradient_norm": column(3e-6)}}),  # 32 x 32 elements: RMS 9e-8
        (SMD, "ExplodingTensor", {"stats": {"gradient_nan": 1}}),
        (SMD, "WeightUpdateRatio", {"stats": {"update_norm": column(11)}}),
        (SMD, "WeightUpdateRatio", {"stats": {"update_norm": column(1e-9)}}),
        (SMD, "LossNotDecreasing", {"loss": numpy.r_[FALLING[:40], FALLING[39] * numpy.ones(20)]}),
        (SMD, "Overfit", {"evaluations": [(50, "validation", 1.5)]}),
        (SMD, "UnchangedTensor", {"stats": {"unchanged_fraction": column(1)}}),
        (SMD, "AllZero", {"stats": {"gradient_zero_fraction": column(1) - column(0)}}),
        (SMD, "ClassImbalance", {"facts": LossFacts(id=0, function="cross_entropy", classes=2, label_counts=[110, 9])}),
        (AUTO, "vanishing gradient", {"stats": {"gradient_norm": column(9e-5)}}),
        (AUTO, "exploding gradient", {"stats": {"gradient_norm": column(71)}}),
        (AUTO, "dying ReLU", {"stats": {"gradient_zero_fraction": 0.71}}),
        (AUTO, "abnormal loss", {"loss": 1000 + FALLING}),
    ],
)
def test_a_threshold_that_is_crossed_alarms(tmp_path, tool, rule, more):
    assert rule in said(tmp_path, **more)[tool]


@pytest.mark.parametrize(
    ("tool", "rule", "more"),
    [
        (SMD, "VanishingGradient", {"stats": {"gradient_norm": column(4e-6)}}),
        (SMD, "WeightUpdateRatio", {"stats": {"update_norm": column(9)}}),
        (SMD, "Overfit", {"evaluations": [(50, "validation", 1.3)]}),
        (SMD, "ClassImbalance", {"facts": LossFacts(id=0, function="cross_entropy", classes=2, label_counts=[99, 10])}),
        (AUTO, "vanishing gradient", {"stats": {"gradient_norm": column(2e-4)}}),
        (AUTO, "exploding gradient", {"stats": {"gradient_norm": column(69)}}),
        (AUTO, "dying ReLU", {"stats": {"gradient_zero_fraction": 0.69}}),
    ],
)
def test_a_threshold_that_is_not_crossed_is_silent(tmp_path, tool, rule, more):
    assert rule not in said(tmp_path, **more)[tool]


def test_every_rule_of_the_baselines_is_tried_above():
    (crossed,) = [mark for mark in test_a_threshold_that_is_crossed_alarms.pytestmark if mark.name == "parametrize"]
    assert {(tool, rule) for tool, rule, _ in crossed.args[1]} == {
        *((SMD, rule) for rule in SAGEMAKER),
        *((AUTO, rule) for rule in AUTOTRAINER),
    }


def test_a_log_holds_what_a_user_would_have_logged(tmp_path):
    log = scalar_log(build_run(tmp_path / "run", loss=FALLING, stats=QUIET, evaluations=[(30, "validation", 1.5)]))
    assert list(log) == ["step", "train_loss", "grad_norm", "lr", "update_ratio", "val_loss"]
    assert log["val_loss"].count() == 1
    assert log["val_loss"][30] == 1.5
    assert log["update_ratio"].tolist() == pytest.approx([1e-3] * 60)
    assert log["lr"].tolist() == pytest.approx([1e-3] * 60)


def test_notes_and_lint_of_speed_are_no_alarms():
    assert alarms({"found": [["TA200", "WARN"], ["TA102", "INFO"], ["divergence", "info"]]}) == set()
    assert alarms({"found": [["TA102", "WARN"], ["divergence", "critical"]]}) == {"TA102", "divergence"}
    assert alarms({"error": "TypeError"}) == set()


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_every_script_has_one_place_to_start_another_tool_unless_it_spawns_ranks(script):
    text = script.read_text(encoding="utf-8")
    assert trains_here(text) == (not script.stem.startswith("ddp_"))
    assert len(START.findall(text)) == trains_here(text)
