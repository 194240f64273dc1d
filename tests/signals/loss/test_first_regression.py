"""What a first regression loss is made of, against squares by torch of a target and of outputs."""

import math

import numpy
import pytest
import torch

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.first_regression import cause, off_standard
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import falling, loss_input

VARIANCE, SPREAD = 2.5, 10.0


def of(path, outputs, target, sampled=True, step=0, **sample):
    """The cause of the first loss of these outputs and this target."""
    loss = falling(50)
    loss[0] = float((outputs - target).square().mean())
    mean, deviation = float(target.mean()), float(target.std(correction=0))
    given = loss_input(step) | {"mean": float(outputs.mean()), "std": float(outputs.std(correction=0)), **sample}
    facts = LossFacts(id=0, function="mse_loss", target_mean=mean, target_variance=deviation**2)
    run = build_run(path, loss=loss, facts=facts, samples=[given] if sampled else [])
    return cause(training_loss(run.trainings[0]), mean, deviation, VARIANCE, SPREAD)


def normal(mean, deviation, seed):
    return mean + deviation * torch.randn(20_000, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize(("mean", "deviation", "size"), [(5, 2, 0.3), (0, 1, 4), (0, 100, 1)])
def test_the_parts_are_mean_squares(tmp_path, sampled, mean, deviation, size):
    outputs, target = normal(0, size, 0), normal(mean, deviation, 1)
    found = of(tmp_path / "a", outputs, target, sampled)
    assert found.ratio == pytest.approx(float((outputs - target).square().mean() / target.var(correction=0)))
    assert found.target == pytest.approx(float(target.square().mean()))
    # Without a sample they are what the target leaves of the loss.
    left = (outputs - target).square().mean() - target.square().mean()
    assert found.outputs == pytest.approx(float(outputs.square().mean() if sampled else left.clamp(min=0)), rel=1e-5)


@pytest.mark.parametrize(
    ("mean", "deviation", "size", "raw", "helps", "large"),
    [
        (0, 1, 0.1, False, False, False),  # as it should be
        (100, 1, 0.1, False, True, False),  # far from zero
        (0, 100, 0.1, True, True, False),  # spread too far
        (0, 1, 9, False, False, True),  # outputs too large
        (0, 100, 1000, True, True, True),  # both
        (0, 0.5, 2**0.5, False, True, True),  # standardised, outputs of 2 still leave 3 times its variance
    ],
)
def test_a_raw_target_is_told_from_large_outputs(tmp_path, mean, deviation, size, raw, helps, large):
    found = of(tmp_path / "a", normal(0, size, 0), normal(mean, deviation, 1))
    assert (found.raw, found.standardising_helps, found.too_large) == (raw, helps, large)


@pytest.mark.parametrize("sample", [{"mean": math.nan}, {"std": math.inf}, {"step": 7}])
def test_samples_of_another_step_or_that_are_no_numbers_are_not_used(tmp_path, sample):
    outputs, target = normal(0, 3, 0), normal(0, 1, 1)
    loss = float((outputs - target).square().mean())
    assert of(tmp_path / "a", outputs, target, **sample).outputs == pytest.approx(loss - float(target.square().mean()))


def test_a_loss_below_the_square_of_the_target_leaves_no_outputs(tmp_path):
    target = normal(10, 1, 1)
    assert of(tmp_path / "a", 0.9 * target, target, sampled=False).outputs == 0


@pytest.mark.parametrize("scale", [0.96, 1.04, 0.9, 1.1, 50.0])
def test_standardising_does_something_where_mean_or_deviation_are_off(scale):
    assert off_standard(0.0, scale) == (False, bool(abs(numpy.log(scale)) > 0.05))
    assert off_standard(0.04 * scale, scale)[0] is False
    assert off_standard(-0.06 * scale, scale)[0] is True
