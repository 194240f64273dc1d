"""The finite validation losses of a run, against the evaluations that it was made of."""

import math

import numpy
import pytest

from gradaudit.signals.evaluation.generalisation import comparison
from gradaudit.signals.evaluation.validation import validation
from gradaudit.signals.evaluation.validation_losses import validation_losses
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling

NAN, INF = math.nan, math.inf
AT = [-1, 19, 39, 59, 79, 99]


def of(path, losses, steps=AT, split="val", **changes):
    held_out = [(step, split, loss) for step, loss in zip(steps, losses, strict=True)]
    run = build_run(path, loss=falling(100), facts=TEN, evaluations=held_out, **changes)
    training = [training_loss(run.trainings[0])]
    return validation_losses(run, validation(run), training), comparison(run, training)


@pytest.mark.parametrize("broken", [[], [0], [2], [1, 5], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_is_not_finite_is_left_out(tmp_path, broken, value):
    losses = numpy.asarray([2.3, 1.5, 1.1, 0.9, 1.0, 1.2])
    losses[broken] = value
    found, _ = of(tmp_path / "a", losses)
    kept = numpy.isfinite(losses)
    assert (found.steps.tolist(), found.values.tolist()) == (numpy.asarray(AT)[kept].tolist(), losses[kept].tolist())
    assert found.best == numpy.nanmin(losses[kept])
    assert found.best_step == numpy.asarray(AT)[kept][numpy.argmin(losses[kept])]
    assert found.last_step == 99


def test_of_equally_good_evaluations_the_first_is_the_best(tmp_path):
    found, _ = of(tmp_path / "a", [2.0, 1.0, 1.5, 1.0, 1.0, 3.0])
    assert (found.best, found.best_step) == (1.0, 19)


def test_the_best_may_be_before_the_first_step_or_the_only_one(tmp_path):
    assert of(tmp_path / "a", [1.0, 2.0], [-1, 50])[0].best_step == -1
    found, _ = of(tmp_path / "b", [-4.0], [50])
    assert (found.best, found.best_step, len(found.values)) == (-4.0, 50, 1)


@pytest.mark.parametrize(("split", "name"), [("val", "validation"), ("dev", "validation"), ("Test", "test")])
def test_a_test_set_is_called_one(tmp_path, split, name):
    assert of(tmp_path / "a", [1.0, 0.9], [40, 80], split)[0].split == name


def test_the_training_loss_is_the_one_to_compare_with(tmp_path):
    found, train = of(tmp_path / "a", [2.3, 1.5, 1.1, 0.9, 1.0, 1.2])
    assert found.train.name == train.name == "training loss (running)"
    assert found.train.values.tolist() == falling(100).tolist()


def test_the_last_step_is_that_of_the_run_and_not_of_the_evaluations(tmp_path):
    assert of(tmp_path / "a", [2.0, 1.0], [9, 19])[0].last_step == 99
