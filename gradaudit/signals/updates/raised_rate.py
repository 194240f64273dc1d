"""Why updates are too small, and the learning rate to try instead."""

import math
from typing import Literal

import msgspec
import numpy

from gradaudit.signals.order_statistics import Floats, median
from gradaudit.signals.updates.learning_rates import is_adaptive, peak_rates
from gradaudit.signals.updates.ratios import last_half
from gradaudit.signals.updates.step_size import below_precision, over_eps
from gradaudit.training import Training

_USUAL = 3e-3  # the update ratio to aim at: the slowest healthy run from scratch has 2.9e-3
_MOST_STEPS, _FAR = 0.9, 5.0  # clipping holds updates down that cuts as many steps, by more than as many times


class LowClipping(msgspec.Struct, frozen=True):
    """A clip threshold far below the gradient norm."""

    clipped: float  # share of the steps that it changed
    times: float  # median of the norm over the threshold
    below_eps: bool  # what it leaves is below the optimizer's eps; else it divides the learning rate


class RaisedRate(msgspec.Struct, frozen=True, eq=False):
    """Learning rates [groups] that are too small, and larger ones."""

    why: Literal["rate zero", "rate unknown", "other parameters", "rate too low"]
    rates: Floats  # the peak of each group
    raised: Floats
    clipping: LowClipping | None


def raised_rate(training: Training, ratio: float) -> RaisedRate:
    """What to change where the largest update-to-weight ratio is no more than `ratio`."""
    rates = peak_rates(training)
    why: Literal["rate zero", "rate unknown", "other parameters", "rate too low"] = "rate too low"
    if not (rates > 0).any():
        why = "rate zero" if numpy.isfinite(rates).any() else "rate unknown"
    elif ratio == 0 and not below_precision(training).any():
        why = "other parameters"
    # Where no weight moves at all, how far the rate is off is not known.
    times_ten = 10.0 ** min(3, max(1, round(math.log10(_USUAL / ratio)))) if ratio > 0 else 1e3
    return RaisedRate(why=why, rates=rates, raised=rates * times_ten, clipping=_low_clipping(training))


def _low_clipping(training: Training) -> LowClipping | None:
    """The clipping by norm that holds the updates down; None where none does."""
    frame = training.steps
    over = frame["gradient_norm"].to_numpy(dtype=float) / frame["clip_threshold"].to_numpy(dtype=float)
    by_norm = frame["clip_kind"].to_numpy() == 1
    clipped, times = float((by_norm & (over > 1)).mean()), median(over[by_norm])
    if not (clipped > _MOST_STEPS and times > _FAR):
        return None
    below_eps = over_eps(training, last_half(training), clipped=True) < 1
    return LowClipping(clipped, times, below_eps) if below_eps or not is_adaptive(training) else None
