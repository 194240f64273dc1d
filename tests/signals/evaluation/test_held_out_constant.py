"""What the best constant scores on validation data, against entropies and variances by numpy."""

import dataclasses
import math

import msgspec
import numpy
import pytest

from gradaudit.schema import LossFacts
from gradaudit.signals.evaluation.held_out_constant import held_out_constant
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import falling

COUNTS = [700, 200, 100]
SHARES = numpy.asarray(COUNTS) / sum(COUNTS)
LABELS = LossFacts(id=0, function="cross_entropy", classes=3, label_counts=COUNTS)
SQUARES = LossFacts(id=0, function="mse_loss", target_variance=3.0, output_variance=2.0)


def level(path, trained, **evaluated):
    """Loss 0 is that of the training, loss 1 that of the evaluations, of which no labels are known."""
    known = {"function": trained.function, "classes": trained.classes, **evaluated}
    run = build_run(
        path, loss=falling(50), facts=LossFacts(id=1, **known), steps={"loss": 0}, evaluations=[(9, "test", 1.0)]
    )
    losses = [trained, LossFacts(id=1, **known)]
    run = dataclasses.replace(run, meta=msgspec.structs.replace(run.meta, losses=losses))
    loss = training_loss(run.trainings[0])
    found, of = held_out_constant(run, [loss])
    assert of is loss
    return found


def entropy(shares):
    return float(-(shares * numpy.log(shares)).sum())


def test_labels_are_those_of_the_training(tmp_path):
    assert level(tmp_path / "a", LABELS) == pytest.approx(entropy(SHARES))


def test_smoothing_is_that_of_the_evaluation(tmp_path):
    trained = msgspec.structs.replace(LABELS, label_smoothing=0.3)
    assert level(tmp_path / "a", trained) == pytest.approx(entropy(SHARES))
    smoothed = 0.9 * SHARES + 0.1 / 3
    assert level(tmp_path / "b", LABELS, label_smoothing=0.1) == pytest.approx(entropy(smoothed))


def test_a_regression_is_missed_by_the_variance_of_its_outputs(tmp_path):
    assert level(tmp_path / "a", SQUARES) == 2.0
    assert level(tmp_path / "b", msgspec.structs.replace(SQUARES, output_variance=None)) == 3.0


@pytest.mark.parametrize(
    ("trained", "evaluated"),
    [
        (LABELS, {"classes": 4}),
        (LABELS, {"function": "nll_loss"}),
        (LABELS, {"reduction": "sum"}),
        (msgspec.structs.replace(LABELS, label_counts=[]), {}),
        (LossFacts(id=0, function="l1_loss"), {}),
    ],
)
def test_another_loss_and_unknown_labels_have_none(tmp_path, trained, evaluated):
    assert math.isnan(level(tmp_path / "a", trained, **evaluated))


def test_a_run_without_evaluations_has_none(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(50), facts=LABELS)
    assert math.isnan(held_out_constant(run, [training_loss(run.trainings[0])])[0])
