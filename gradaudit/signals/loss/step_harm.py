"""What steps that are too large have done to the loss: a training that fails, a jump at the start, little gain."""

import math
from typing import Literal

import msgspec
import numpy

from gradaudit.signals.gradients.finiteness import diverged_before, non_finite_onset
from gradaudit.signals.loss.progress import constant_level, divergence, not_learning, other_scale
from gradaudit.signals.loss.progress import epochs as epochs_of
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import largest, median
from gradaudit.signals.updates.learning_rates import maximizes
from gradaudit.training import Training

_DEVIATIONS = 4.0  # standard deviations from batch to batch, on a logarithmic scale


class Failure(msgspec.Struct, frozen=True):
    """Training breaks, runs away, or learns nothing."""

    kind: Literal["non_finite", "divergence", "no_learning"]
    since: int  # global step; 0 where nothing is learned


class Overshoot(msgspec.Struct, frozen=True):
    """The loss goes up over the first steps, beyond what batches differ by."""

    of: Literal["largest", "median"]  # of the first losses
    times: float  # over the first loss


class LittleGain(msgspec.Struct, frozen=True):
    """The loss keeps most of its start, or of what needs no input to reach."""

    over: Literal["start", "constant"]
    share: float  # last loss over that one


Harm = Failure | Overshoot | LittleGain


def failure(training: Training, epochs: float, steps: float) -> Failure | None:
    """How training fails; that it learns nothing counts after `epochs`, after `steps` where those are not known."""
    broken = non_finite_onset(training)
    if broken is not None and not broken.recovered and diverged_before(broken):
        return Failure("non_finite", broken.step)
    if maximizes(training):
        return None  # a loss that rises because it is maximized says nothing of the size of the steps
    away = divergence(training)
    if away is not None:
        return Failure("divergence", away)
    passed = epochs_of(training)
    long_enough = len(training.steps) >= steps if math.isnan(passed) else passed >= epochs
    return Failure("no_learning", 0) if long_enough and not_learning(training) else None


def overshooting(loss: TrainingLoss, overshoot: float, jump: float) -> Overshoot | None:
    """The largest of the first losses at `jump` times the first one or more, or their median at `overshoot` times."""
    middle, top = first_losses(loss)
    # The first loss is that of one batch: of a loss whose batches differ three times it may be anything.
    noise = _scatter(loss) ** _DEVIATIONS
    if top >= max(jump, noise):
        return Overshoot("largest", top)
    return Overshoot("median", middle) if middle >= max(overshoot, noise) else None


def little_gain(loss: TrainingLoss, kept: float) -> LittleGain | None:
    """A loss that ends with `kept` of its first value or more, or of that of the best constant prediction."""
    if loss.shapeless or not loss.first > 0:
        return None
    if loss.last / loss.first >= kept:
        return LittleGain("start", loss.last / loss.first)
    # How often each token occurs is learned in a few steps: a fall from a uniform prediction to that shows nothing.
    share = over_constant(loss)
    return LittleGain("constant", share) if share >= kept else None


def first_losses(loss: TrainingLoss) -> tuple[float, float]:
    """The median of steps 1 to 5 and the largest of the first ten over the first loss; NaN where that says nothing."""
    if loss.shapeless or not loss.first > 0:
        return math.nan, math.nan
    return median(loss.values[1:6]) / loss.first, largest(loss.values[1:10]) / loss.first


def over_constant(loss: TrainingLoss) -> float:
    """The last loss over that of the best constant predictor; NaN where either says nothing of the other."""
    level = constant_level(loss)
    return math.nan if loss.shapeless or other_scale(loss) or not level > 0 else loss.last / level


def _scatter(loss: TrainingLoss) -> float:
    """The factor by which losses differ from batch to batch, after the first ten steps; 1 where none are known."""
    after = loss.values[10:60]
    with numpy.errstate(divide="ignore", invalid="ignore"):
        apart = numpy.abs(numpy.diff(numpy.log(after)))
    # A standard deviation of logarithms: the difference of two has the square root of two.
    return math.exp(median(apart) / 0.954) if numpy.isfinite(apart).any() else 1.0
