"""The learning rate at which the first update that was too large is a tenth of the weights."""

import math

import msgspec
import numpy

from gradaudit.signals.order_statistics import Floats
from gradaudit.signals.thresholds import threshold
from gradaudit.signals.updates.learning_rates import peak_rates
from gradaudit.signals.updates.ratios import median_update_ratio
from gradaudit.training import Training

AIM = 0.1  # of the weights: the largest update of all but a few healthy runs is below 0.3
_STILL_RISING = 1.5  # times the rate of the update that is too large: then a warmup was under way
HARMFUL = 0.2  # update-to-weight ratio that goes with harm, as in `learning_rate_too_high`, which tells why


class StableLearningRate(msgspec.Struct, frozen=True, eq=False):
    """What was set when the first update was too large, and what would have been stable."""

    step: int  # global
    ratio: float  # of that update to the weights
    rates: Floats  # [groups] at that step
    lower: Floats  # [groups]
    times: float  # rates / lower
    peak: Floats  # [groups] the greatest of the run

    @property
    def warming_up(self) -> bool:
        """Whether the learning rate still rises after that update."""
        return bool((self.peak > _STILL_RISING * self.rates).any())


def stable_learning_rate(training: Training, limit: float | None = None) -> StableLearningRate | None:
    """The learning rates that make the first update of `limit` or more a tenth of the weights; None without one.

    An update is proportional to the learning rate, under SGD and, as long as the gradients are alike, under Adam; those
    after it, in a run that runs away, are what the first ones have done.
    """
    if limit is None:
        limit = threshold(training.run, "learning_rate_too_high.with_symptom", HARMFUL)
    update_ratio = median_update_ratio(training)
    over = numpy.flatnonzero(numpy.where(numpy.isfinite(update_ratio), update_ratio, -numpy.inf) >= limit)
    if not len(over):
        return None
    step, ratio = int(training.recorded_global_steps[over[0]]), float(update_ratio[over[0]])
    rates = rates_at(training, step)
    times = max(3.0, ratio / AIM)
    lower = [float(f"{rate / times:.0e}") if math.isfinite(rate) else rate for rate in rates]
    return StableLearningRate(step, ratio, rates, lower=numpy.asarray(lower), times=times, peak=peak_rates(training))


def rates_at(training: Training, step: int) -> Floats:
    """[groups]: the learning rates at a global step, or the greatest of the run where they are 0 there."""
    own = training.steps["global_step"].to_numpy()
    rates = training.learning_rates[int(numpy.argmax(own >= step))]
    return rates if (rates > 0).any() else peak_rates(training)
