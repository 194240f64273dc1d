import math
from pathlib import Path

import pytest

from gradaudit.audit.runner import analyze
from gradaudit.diagnosers.unreachable_target import (
    ConstantOutput,
    NoBound,
    OutOfReach,
    WithinReach,
    unreachable_target,
)
from gradaudit.findings import Confidence, Severity
from gradaudit.schema import LossFacts
from tests.build import build_run
from tests.diagnosers.runs import HEALTHY_WITH, TEN, falling, flat, healthy
from tests.diagnosers.sick_layers import out_of_reach
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_targets_between_zero_and_one_are_reached_by_a_sigmoid(tmp_path: Path) -> None:
    run = healthy(tmp_path, **HEALTHY_WITH["unreachable_target"])
    found = judged(unreachable_target, run, WithinReach)
    assert (found.function, found.activation) == ("mse_loss", "sigmoid")
    assert (found.reach.missed, found.reach.variance) == (0, 0.04)
    assert assert_clean(unreachable_target, run) == (
        "the predictions of mse_loss come from sigmoid, and at least 0 of the targets' variance, 0.04, is out of its "
        "reach"
    )


def test_logits_are_bounded_by_nothing(tmp_path: Path) -> None:
    run = build_run(tmp_path / "a", loss=falling(), facts=LossFacts(id=0, function="mse_loss", activation=""))
    assert judged(unreachable_target, run, NoBound).activations == ("",)
    assert "an operation without bounds" in assert_not_applicable(unreachable_target, run)


def test_standardised_targets_fit_a_tanh_and_not_a_sigmoid(tmp_path: Path) -> None:
    assert_clean(unreachable_target, out_of_reach(tmp_path / "tanh", "tanh", 0.0, 1.0))
    run = out_of_reach(tmp_path / "a", "sigmoid", 0.0, 1.0)
    found = judged(unreachable_target, run, OutOfReach)
    assert found.reach.missed == pytest.approx((math.sqrt(1.25) - 0.5) ** 2)
    assert found.reach.variance == 1
    assert not found.hopeless
    finding = assert_finds(unreachable_target, run, Severity.WARNING)
    assert "stays at 0.382 or above. That is 38 % of" in finding.explanation


def test_a_record_without_the_operation_cannot_be_judged(tmp_path: Path) -> None:
    run = build_run(tmp_path / "a", loss=falling(), facts=LossFacts(id=0, function="mse_loss"))
    assert "not seen" in assert_skipped(unreachable_target, run)


def test_classes_have_no_range(tmp_path: Path) -> None:
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN)
    assert "compares the predictions with numbers" in assert_not_applicable(unreachable_target, run)


def test_targets_far_above_a_sigmoid_are_critical(tmp_path: Path) -> None:
    run = out_of_reach(tmp_path / "a")
    found = judged(unreachable_target, run, OutOfReach)
    assert found.reach == pytest.approx((45, 400, 2330), rel=1e-3)
    assert found.hopeless
    assert (found.shift, found.scale) == (5, 80), "two standard deviations on either side of the mean"
    finding = assert_finds(unreachable_target, run, Severity.CRITICAL)
    assert finding.title == "Targets outside the output range"
    assert finding.measures[0].value == pytest.approx(5.83, abs=0.01), "of the variance"
    assert finding.confidence is Confidence.CERTAIN


@pytest.mark.parametrize("function", ["mse_loss", "binary_cross_entropy", "cross_entropy"])
def test_a_softmax_over_one_number_is_critical_under_any_loss(tmp_path: Path, function: str) -> None:
    facts = LossFacts(id=0, function=function, activation="softmax", softmax_over=1, target_mean=0.5)
    run = build_run(tmp_path / "a", loss=flat(), facts=facts)
    assert judged(unreachable_target, run, ConstantOutput).function == function
    finding = assert_finds(unreachable_target, run, Severity.CRITICAL)
    assert finding.title == "Softmax over a single output"
    assert finding.measures[0].value == 1


def test_labels_that_are_right_at_once_are_out_of_reach_of_a_softmax(tmp_path: Path) -> None:
    run = out_of_reach(tmp_path / "a", "softmax", 0.6, 0.24, over=3)
    found = judged(unreachable_target, run, OutOfReach)
    assert (found.facts.softmax_over, found.reach.mean) == (3, 0.6)
    finding = assert_finds(unreachable_target, run, Severity.WARNING)
    assert finding.title == "Softmax cannot fit the targets"
    assert "their targets sum to 1.80 on average" in finding.headline
    assert "one sigmoid for each label" in finding.actions[0].text


def test_it_stands_above_what_it_brings_about(tmp_path: Path) -> None:
    audit = analyze(out_of_reach(tmp_path / "a"))
    assert audit.ranked[0].diagnoser == "unreachable_target"
    assert "initial_loss_mismatch" in [item.diagnoser for item in audit.ranked[0].consequences]
