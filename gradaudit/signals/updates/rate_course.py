"""The course of the learning rate: where it has decayed, and what the loss had gained by then and gains after."""

import math

import msgspec
import numpy

from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import Floats, median
from gradaudit.signals.updates.learning_rates import at_most
from gradaudit.training import Training

_FADED = 0.1  # of the peak: a schedule that fades to 0 was lower before


class DecayedRate(msgspec.Struct, frozen=True):
    """A learning rate that has fallen for good."""

    at: int  # index of the first step at which it has
    steps: int  # of the run
    peak: float
    rate: float  # at that step
    previous: float  # at the step before

    @property
    def share_of_peak(self) -> float:
        """Rates are kept as float32: a hundredth of one is seldom exactly that."""
        return float(f"{self.rate / self.peak:.5g}")

    @property
    def rest(self) -> float:
        """The share of the run that is left."""
        return 1 - self.at / self.steps

    @property
    def at_once(self) -> bool:
        """Whether one step took it to 0."""
        return self.rate == 0 and self.previous > _FADED * self.peak


class RateCourse(msgspec.Struct, frozen=True):
    """What the largest learning rate over the groups does in a run."""

    groups: int
    constant: bool
    first: float
    top: float
    top_step: int  # of this optimizer
    last: float


class GainAround(msgspec.Struct, frozen=True):
    """The share of the first loss that is gained before and after a step; NaN where too few steps are around it."""

    half: int  # global step at half of the way to it
    step: int  # global
    before: float  # from the first to the second
    after: float  # from there to the end


def largest_rate(training: Training) -> Floats | None:
    """[steps]: the largest learning rate over the groups; None where it is not known at every step, or always 0."""
    rates = training.learning_rates
    rate = numpy.where(numpy.isfinite(rates), rates, -numpy.inf).max(axis=1, initial=-numpy.inf)
    rate = numpy.where(rate >= 0, rate, numpy.nan)
    return rate if len(rate) and numpy.isfinite(rate).all() and rate.max() > 0 else None


def rate_course(training: Training, rate: Floats) -> RateCourse:
    """The course of `largest_rate`."""
    top, constant = int(rate.argmax()), bool(rate.min() == rate.max())
    groups = training.learning_rates.shape[1]
    return RateCourse(groups, constant, float(rate[0]), float(rate[top]), top, float(rate[-1]))


def decayed_rate(rate: Floats, share: float) -> DecayedRate | None:
    """The end of a rate [steps] that falls for good to `share` of its peak or less; None where it does not."""
    low_enough = at_most(rate, share, rate.max())
    low = numpy.flatnonzero(low_enough & (numpy.arange(len(rate)) > numpy.argmax(rate)))
    return _decayed(rate, int(low[0])) if len(low) and low_enough[low[0] :].all() else None


def idle_rate(training: Training, rate: Floats) -> DecayedRate | None:
    """The end of a run at which every rate is exactly 0 and nothing is seen to move; None where there is none."""
    at = int(numpy.flatnonzero(rate)[-1]) + 1
    if at == len(rate):
        return None
    if training.run.has("tensors.update_norm"):
        since = training.recorded >= training.steps["step"].to_numpy()[at]
        # Some optimizers step without a learning rate.
        if (training.matrix("update_norm")[since] > 0).any():
            return None
    return _decayed(rate, at)


def _decayed(rate: Floats, at: int) -> DecayedRate:
    return DecayedRate(at, len(rate), float(rate.max()), float(rate[at]), float(rate[at - 1]))


def gain_around(loss: TrainingLoss, at: int) -> GainAround:
    """What the loss gains over the stretch before step `at`, an index, and over all that follows it."""
    half, step = int(loss.steps[at // 2]), int(loss.steps[at])
    width = max(5, min(at, len(loss.values) - at) // 10)
    if at <= 2 * width or at + 2 * width > len(loss.values) or not loss.first > 0:
        return GainAround(half, step, math.nan, math.nan)
    # The stretch before is half of what came before, so that the fall of the first steps does not count.
    start = median(loss.values[at // 2 : at // 2 + width])
    reached = median(loss.values[at - width : at])
    end = median(loss.values[-width:])
    return GainAround(half, step, before=(start - reached) / loss.first, after=(reached - end) / loss.first)
