"""Whether what a regression is trained towards stays what it is: targets of bootstrapped returns, say, move."""

import math
from typing import Literal

import msgspec
import numpy

from gradaudit.schema import LossFacts
from gradaudit.signals.order_statistics import Floats

_PARTS = 4  # of the training that are held against each other
_CALLS = 5  # in each of them, at least
_ERRORS = 6.0  # standard errors between two parts: of 6 pairs, 1 in 10^8 by chance
_APART = 0.5  # of the spread within a batch, by which the means of two parts must differ
_WIDER = 1.5  # times, by which their spreads must


class Movement(msgspec.Struct, frozen=True):
    """What of the targets moved: they are trained themselves, or a statistic went from one value to another."""

    what: Literal["trained", "mean", "spread"]
    before: float = math.nan  # over a quarter of the training; NaN where they are trained
    after: float = math.nan  # over a later one


def movement(facts: LossFacts) -> Movement | None:
    """How the targets moved while the model learned; None where they did not, or nobody looked."""
    if facts.target_trained:
        return Movement("trained")
    calls, means, scatter, spreads, scatter_of_spread = _quarters(facts)
    if len(calls) < _PARTS or calls.min() < _CALLS:
        return None
    typical = float(numpy.hypot(spreads, scatter).mean())
    one, other = _furthest(means, scatter / numpy.sqrt(calls))
    if abs(means[other] - means[one]) > _APART * typical:
        return Movement("mean", float(means[one]), float(means[other]))
    one, other = _furthest(spreads, scatter_of_spread / numpy.sqrt(calls))
    low, high = sorted((spreads[one], spreads[other]))
    if high > _WIDER * low:
        return Movement("spread", float(spreads[one]), float(spreads[other]))
    return None


def target_growth(facts: LossFacts | None) -> float:
    """How many times the size of the targets of the first quarter those of the last have; 1 where they did not grow."""
    _, means, _, spreads, _ = _quarters(facts) if facts is not None else numpy.zeros((5, 0))
    if not len(means):
        return 1.0
    size = numpy.hypot(means, spreads)
    return max(1.0, float(size[-1] / size[0])) if size[0] > 0 else 1.0


def _furthest(values: Floats, errors: Floats) -> tuple[int, int]:
    """The two quarters that lie furthest apart, the earlier one first; one and the same where none do for certain."""
    best, pair = 0.0, (0, 0)
    for later in range(len(values)):
        for earlier in range(later):
            apart = abs(float(values[later] - values[earlier]))
            if apart > best and apart > _ERRORS * math.hypot(errors[earlier], errors[later]):
                best, pair = apart, (earlier, later)
    return pair


def _quarters(facts: LossFacts) -> Floats:
    """[5, quarters]: the columns of `LossFacts.target_parts`, over all calls of a quarter of the training."""
    parts = numpy.asarray([part for part in facts.target_parts if len(part) == 5], dtype=float)
    if len(parts) < _PARTS:
        return numpy.zeros((5, 0))
    merged = []
    for some in numpy.array_split(parts, _PARTS):
        weights = some[:, 0] / some[:, 0].sum()
        mean, spread = (weights * some[:, 1]).sum(), (weights * some[:, 3]).sum()
        scatter, of_spread = (numpy.sqrt((weights * some[:, column] ** 2).sum()) for column in (2, 4))
        merged.append((some[:, 0].sum(), mean, scatter, spread, of_spread))
    return numpy.asarray(merged).T
