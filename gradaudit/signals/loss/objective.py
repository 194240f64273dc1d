"""What is minimised beside the loss that was seen: the same up to a factor, or a sum of which it is one term."""

import math
from typing import TYPE_CHECKING

import msgspec
import numpy

from gradaudit.signals.order_statistics import Floats, Integers

if TYPE_CHECKING:
    import pandas

SAME = 1.02  # a factor that varies by less is one factor: losses are summed up in float32
MOSTLY = 1.5  # a factor that varies by more has other terms in it that the loss does not tell of
_LEAST = 10  # steps
_TAILS = (0.05, 0.95)


class Factor(msgspec.Struct, frozen=True, eq=False):
    """How many times the mean loss the objective is, in units of what it follows best."""

    unit: str  # "1", "targets", "batch", "1 / targets" or "1 / batch"
    values: Floats  # [steps with both]
    places: Integers  # [steps with both] indices of steps
    range: float  # the greatest over the least; infinite where the sign changes
    spread: float  # the same of the 95th and the 5th percentile


def factor(frame: "pandas.DataFrame", mean_loss: Floats) -> Factor | None:
    """The factor between the objective and the mean loss of these steps; None where fewer than ten have both."""
    objective = frame["objective"].to_numpy(dtype=float)
    both = numpy.isfinite(objective) & numpy.isfinite(mean_loss) & (mean_loss != 0)
    if both.sum() < _LEAST:
        return None
    times = objective[both] / mean_loss[both]
    units = {"1": numpy.ones(len(times))}
    for name, column in (("targets", "targets"), ("batch", "batch_size")):
        amount = frame[column].to_numpy(dtype=float)[both]
        if (amount > 0).all():
            units |= {name: 1 / amount, f"1 / {name}": amount}
    found = [
        Factor(name, times * unit, numpy.flatnonzero(both), *_spread(times * unit)) for name, unit in units.items()
    ]
    # Of equals the first: a factor that batches of one size leave open is plain.
    return min(found, key=lambda one: round(one.range, 6))


def _spread(values: Floats) -> tuple[float, float]:
    """How many times the least the greatest value is, and the same between the tails."""
    size = numpy.abs(values)
    if values.min() <= 0 <= values.max():
        return math.inf, math.inf
    low, high = (float(value) for value in numpy.quantile(size, _TAILS))
    return float(size.max() / size.min()), high / low
