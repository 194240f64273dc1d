"""What an activation that the graph shows in front of a loss leaves of what that loss wants."""

import math

from gradaudit.schema import LossFacts

LOGITS = ("cross_entropy", "binary_cross_entropy_with_logits")
LOG_PROBABILITIES = "nll_loss"
DIVERGENCE = "kl_div"  # wants logarithms, too, of every shape
_HIGHEST = {"softmax": 1.0, "sigmoid": 1.0, "tanh": 1.0}  # of a logit
_LOWEST = {"softmax": 0.0, "sigmoid": 0.0, "tanh": -1.0}


def unwanted_activation(facts: LossFacts) -> str:
    """The activation that does not belong before this loss; empty where there is none, or it is not known.

    A softmax counts over the classes alone: over another axis it makes no probabilities of them.
    """
    activation = facts.activation or ""
    if facts.function == DIVERGENCE:
        return activation if activation in ("softmax", "sigmoid", "relu") else ""
    if facts.function == LOG_PROBABILITIES:
        return activation if activation == "softmax" and facts.softmax_over == facts.classes > 1 else ""
    if facts.function not in LOGITS or (activation == "log_softmax" and facts.function != "cross_entropy"):
        return ""
    over_classes = facts.softmax_over == facts.classes > 1 or facts.function != "cross_entropy"
    return activation if activation != "softmax" or over_classes else ""


def lowest_loss_behind(facts: LossFacts, activation: str) -> float:
    """The loss when every answer is right and as sure as the activation allows; NaN where that is not known."""
    if activation not in _HIGHEST:
        return math.nan
    gap = _HIGHEST[activation] - _LOWEST[activation]
    if facts.function == "cross_entropy":
        plain = not facts.weighted and not facts.label_smoothing and not facts.soft_targets and facts.classes > 1
        return math.log(1 + (facts.classes - 1) * math.exp(-gap)) if plain else math.nan
    share = facts.target_mean
    if facts.function not in LOGITS or share is None or facts.weighted or not 0 <= share <= 1:
        return math.nan
    high, low = math.exp(-_HIGHEST[activation]), math.exp(_LOWEST[activation])
    return share * math.log(1 + high) + (1 - share) * math.log(1 + low)
