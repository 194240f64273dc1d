"""How much of an early gain carries over to validation data."""

import math

import numpy
import pytest

from gradaudit.schema import DataFacts, LossFacts
from gradaudit.signals.evaluation.early_gap import early_gap
from gradaudit.signals.evaluation.generalisation import TrainingCurve
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN
from tests.signals.two_optimizers import two_optimizers

NAN, INF = math.nan, math.inf
STEPS = numpy.arange(100.0)
LINE = numpy.linspace(2.0, 1.01, 100)  # 1.5 at step 50


def gap(path, first, at=50, *, loss=LINE, batches=100, facts=TEN, comparable=True, running=LINE, **changes):
    """A first validation loss after step `at`, and one more at the end."""
    run = build_run(path, loss=loss, facts=facts, data=DataFacts(batches_per_epoch=batches), **changes)
    train = TrainingCurve("training loss", numpy.arange(float(len(running))), running, comparable)
    held_out, steps = numpy.asarray([first, 1.0]), numpy.asarray([at, 99.0])
    return early_gap(run, [training_loss(training) for training in run.trainings], train, steps, held_out)


def test_what_carries_over_is_a_share_of_what_training_has_gained(tmp_path):
    found = gap(tmp_path / "a", 1.9)
    assert (found.start, found.there) == (2.0, pytest.approx(1.5))
    assert found.carried == pytest.approx((2.0 - 1.9) / (2.0 - 1.5))


@pytest.mark.parametrize(
    ("first", "carried"), [(1.8, None), (1.851, 0.298), (2.0, 0.0), (2.5, 0.0), (1.849, None), (0.5, None)]
)
def test_less_than_three_tenths_is_little(tmp_path, first, carried):
    found = gap(tmp_path / "a", first)
    assert (found and found.carried) == (carried if carried is None else pytest.approx(carried))


@pytest.mark.parametrize(("level", "told"), [(1.81, False), (1.79, True), (2.2, False), (NAN, False)])
def test_of_a_small_gain_nothing_is_told(tmp_path, level, told):
    assert (gap(tmp_path / "a", 2.0, running=numpy.full(100, level)) is not None) is told


@pytest.mark.parametrize(
    ("at", "batches", "told"),
    [(99, 50, True), (99, 49, False), (50, 0, False), (-1, 100, False), (0, 1, True), (3, 1, False)],
)
def test_after_two_epochs_it_may_be_memorised(tmp_path, at, batches, told):
    assert (gap(tmp_path / "a", 2.0, at, batches=batches, running=numpy.full(100, 1.0)) is not None) is told


@pytest.mark.parametrize(("micro_steps", "told"), [(1, True), (3, True), (4, False)])
def test_micro_steps_are_batches(tmp_path, micro_steps, told):
    found = gap(tmp_path / "a", 2.0, 49, batches=80, steps={"micro_steps": micro_steps})
    assert (found is not None) is told


def test_scale_makes_no_difference(tmp_path):
    for number, scale in enumerate((1e-3, 1e3)):
        facts = LossFacts(id=0, function="mse_loss", target_variance=scale)
        found = gap(tmp_path / str(number), 1.9 * scale, loss=scale * LINE, running=scale * LINE, facts=facts)
        assert (found.carried, found.start) == (pytest.approx(0.2, rel=1e-3), pytest.approx(2 * scale))


@pytest.mark.parametrize("changes", [{"comparable": False}, {"facts": LossFacts(id=0, function="logged")}])
def test_losses_that_mean_something_else_are_not_compared(tmp_path, changes):
    assert gap(tmp_path / "a", 2.0) is not None
    assert gap(tmp_path / "b", 2.0, **changes) is None


@pytest.mark.parametrize("first", [NAN, INF, -INF])
def test_a_start_that_is_no_number_tells_nothing(tmp_path, first):
    loss = LINE.copy()
    loss[0] = first
    assert gap(tmp_path / "a", 2.0, loss=loss) is None


def test_of_two_optimizers_nothing_is_told(tmp_path):
    data = DataFacts(batches_per_epoch=100)
    run = two_optimizers(tmp_path / "a", LINE, LINE, "cross_entropy", data=data)
    train = TrainingCurve("training loss", STEPS, LINE, True)
    losses, held_out = [training_loss(training) for training in run.trainings], numpy.asarray([2.0])
    assert early_gap(run, losses[:1], train, numpy.asarray([50.0]), held_out) is not None
    assert early_gap(run, losses, train, numpy.asarray([50.0]), held_out) is None
