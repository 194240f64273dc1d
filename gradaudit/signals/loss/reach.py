"""How far the targets of a loss lie outside of what the last activation of the model can give."""

import math
from typing import NamedTuple

from gradaudit.schema import LossFacts

_RANGES = {"sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0)}
_SQUARED = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")  # of whose targets the variance is known
_BINARY = "binary_cross_entropy"
_SAMPLED = 256  # outputs of an example whose targets the recorder samples: of more the mean is not that of their sum
COMPARING = (*_SQUARED, _BINARY)  # each prediction with a number that it should be


class Reach(NamedTuple):
    """Mean and variance of the targets, and the mean square of what keeps any prediction away from them."""

    mean: float
    variance: float
    missed: float


def reach_of(facts: LossFacts) -> Reach | None:
    """What the activation before this loss makes impossible, whatever the weights; None where that is not known."""
    mean, variance = facts.target_mean, facts.target_variance
    if (
        facts.activation in (None, "", "log_softmax")
        or mean is None
        or facts.weighted
        or facts.target_trained
        or facts.broadcast
    ):
        return None
    # What a script leaves out or weights in a loss of each element is not known.
    if facts.reduction == "none" or (facts.activation == "softmax" and (facts.softmax_over or 0) > _SAMPLED):
        return None
    if facts.function == _BINARY:
        # Labels of 0 and 1 have this variance, and labels between them less.
        variance = mean * (1 - mean)
        if facts.activation != "softmax" or not 0 <= mean <= 1:
            return None
    elif facts.function not in _SQUARED or variance is None:
        return None
    return Reach(mean, variance, _missed(facts, mean, math.sqrt(variance)))


def _missed(facts: LossFacts, mean: float, spread: float) -> float:
    """The least mean square of target - prediction.

    Mean and standard deviation of the predictions are a point, those of the targets another, and the square of their
    distance is no more than the mean square of the differences. Predictions from `low` to `high` have points in the
    half-circle over that interval, and those of a softmax over n numbers have a mean of 1 / n, too.
    """
    if facts.activation == "relu":
        return min(0.0, mean) ** 2
    low, high = _RANGES.get(facts.activation or "", (-math.inf, math.inf))
    if facts.activation == "softmax" and facts.softmax_over:
        own = 1 / facts.softmax_over
        return (mean - own) ** 2 + max(0.0, spread - math.sqrt(own * (1 - own))) ** 2
    middle, radius = (low + high) / 2, (high - low) / 2
    return max(0.0, math.hypot(mean - middle, spread) - radius) ** 2
