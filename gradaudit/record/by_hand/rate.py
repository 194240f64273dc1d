"""The learning rate of an update made by hand, solved from the update and the gradient of the sampled elements."""

import math
from typing import Any, NamedTuple

import numpy

_CLOSE = 1e-3  # a rate that is not known to this part of itself is not known
_SLACK = 2.0  # times the rounding of the weights and of the update
_MOST_DIGITS = 8

Numbers = numpy.ndarray[Any, numpy.dtype[numpy.float64]]


class Solved(NamedTuple):
    """What the script's formula was: update = -rate * (gradient + decay * weight); NaN where it was another one."""

    rate: float
    decay: float


UNKNOWN = Solved(math.nan, math.nan)


def solve(weight: Numbers, after: Numbers, gradient: Numbers, rounding: Numbers) -> Solved:
    """The rate and decay that explain every element within `rounding`, the relative one of each element's type."""
    with numpy.errstate(all="ignore"):
        update = after - weight
        error = _SLACK * rounding * (numpy.maximum(numpy.abs(weight), numpy.abs(after)) + numpy.abs(update))
        if not (numpy.isfinite(update).all() and numpy.isfinite(gradient).all()):
            return UNKNOWN
        reached = gradient != 0
        # What has no gradient moves by momentum or decay only.
        alone = bool((update[~reached] == 0).all())
        if alone and reached.sum() >= 2:
            solved = _one(update[reached], gradient[reached], error[reached])
            if not math.isnan(solved.rate):
                return solved
        looked = reached | (weight != 0)
        return _two(update[looked], gradient[looked], weight[looked], error[looked])


def _one(update: Numbers, gradient: Numbers, error: Numbers) -> Solved:
    safe = numpy.maximum(error, 1e-300)
    slope = gradient / safe
    size = float(numpy.sqrt(slope @ slope))
    rate = -float(slope @ (update / safe)) / size**2
    if not math.isfinite(rate) or rate == 0 or 1 / size > _CLOSE * abs(rate):
        return UNKNOWN
    if (numpy.abs(update + rate * gradient) > error).any():
        return UNKNOWN
    return Solved(_shortest(rate, 1 / size), 0.0)


def _two(update: Numbers, gradient: Numbers, weight: Numbers, error: Numbers) -> Solved:
    """Gradient descent with weight decay."""
    if len(update) < 8:
        return UNKNOWN
    safe = numpy.maximum(error, 1e-300)
    columns = numpy.column_stack([gradient / safe, weight / safe])
    target = update / safe
    square = columns.T @ columns
    if not numpy.isfinite(square).all() or abs(numpy.linalg.det(square / max(1e-300, float(square.max())))) < 1e-12:
        return UNKNOWN
    inverse = numpy.linalg.inv(square)
    first, second = (float(value) for value in inverse @ (columns.T @ target))
    rate, shrink = -first, -second
    wide = numpy.sqrt(numpy.maximum(numpy.diag(inverse), 0))
    if not (rate > 0 and shrink > 0 and wide[0] < _CLOSE * rate and wide[1] < 10 * _CLOSE * shrink):
        return UNKNOWN
    # The decay term is rounded once more.
    if (numpy.abs(update + rate * gradient + shrink * weight) > 2 * error).any():
        return UNKNOWN
    rate = _shortest(rate, float(wide[0]))
    return Solved(rate, _shortest(shrink / rate, float(wide[1]) / rate))


def _shortest(value: float, error: float) -> float:
    """The number with the fewest digits within `error`: what the script says, where it says a round one."""
    for digits in range(_MOST_DIGITS):
        rounded = float(f"{value:.{digits}e}")
        if abs(rounded - value) <= error:
            return rounded
    return value
