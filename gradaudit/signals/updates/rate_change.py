"""What became of the learning rates between a step and the end of the run."""

import msgspec
import numpy

from gradaudit.signals.order_statistics import Floats, largest
from gradaudit.training import Training


class RateChange(msgspec.Struct, frozen=True, eq=False):
    """The learning rates [groups] at a step and at the last one."""

    then: Floats
    now: Floats
    steady: bool  # they are the same at all steps between
    raised: bool  # one is higher at the end
    times: float  # the largest factor by which one changed; NaN where none is known, or above 0 at first


def rate_change(training: Training, index: int) -> RateChange:
    """The change from the step of this index to the last."""
    rates = training.learning_rates[index:]
    then, now = rates[0], rates[-1]
    return RateChange(
        then=then,
        now=now,
        steady=numpy.array_equal(rates, numpy.broadcast_to(then, rates.shape), equal_nan=True),
        raised=bool((now > then).any()),
        times=largest(now / numpy.where(then > 0, then, numpy.nan)),
    )
