import numpy
import pytest

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.step_harm import (
    Failure,
    LittleGain,
    Overshoot,
    failure,
    first_losses,
    little_gain,
    over_constant,
    overshooting,
)
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat


def training(path, loss, facts=TEN):
    return build_run(path, loss=loss, facts=facts).trainings[0]


def test_the_first_losses_are_held_against_the_very_first(tmp_path):
    loss = falling()
    loss[:12] = [2.0, 3.0, 5.0, 4.0, 6.0, 7.0, 1.0, 9.0, 1.0, 1.0, 30.0, 1.0]
    found = training_loss(training(tmp_path / "a", loss))
    assert first_losses(found) == pytest.approx((numpy.median(loss[1:6]) / 2, 9 / 2))
    assert overshooting(found, overshoot=1.6, jump=3.0) == Overshoot("largest", pytest.approx(4.5))
    assert overshooting(found, overshoot=1.6, jump=5.0) == Overshoot("median", pytest.approx(2.5))
    assert overshooting(found, overshoot=3.0, jump=5.0) is None


def test_a_loss_whose_sign_is_not_known_tells_nothing(tmp_path):
    found = training_loss(training(tmp_path / "a", falling(), LossFacts(id=0, function="logged")))
    assert numpy.isnan(first_losses(found)).all()
    assert little_gain(found, 0.0) is None
    assert numpy.isnan(over_constant(found))


def test_little_gain_is_told_against_the_start_or_a_constant_prediction(tmp_path):
    loss = numpy.concatenate([numpy.linspace(4.0, 1.0, 100), numpy.full(100, 1.0)])
    facts = LossFacts(id=0, function="cross_entropy", classes=50, label_entropy=1.25)
    found = training_loss(training(tmp_path / "a", loss, facts))
    assert little_gain(found, 0.2) == LittleGain("start", pytest.approx(0.25))
    assert little_gain(found, 0.7) == LittleGain("constant", pytest.approx(0.8))
    assert little_gain(found, 0.9) is None


def test_a_training_fails_by_divergence_or_by_learning_nothing_for_long_enough(tmp_path):
    loss = falling(300)
    loss[20:] = 30.0
    assert failure(training(tmp_path / "a", loss), 5, 200).kind == "divergence"
    stuck = training(tmp_path / "b", flat(300))
    assert failure(stuck, 5, 200) == Failure("no_learning", 0)
    assert failure(stuck, 5, 301) is None
    assert failure(training(tmp_path / "c", falling(300)), 5, 200) is None


def test_nan_after_growth_is_a_failure(tmp_path):
    loss = numpy.concatenate([numpy.geomspace(2.3, 40, 50), numpy.full(50, numpy.nan)])
    assert failure(training(tmp_path / "a", loss), 5, 200) == Failure("non_finite", 50)
