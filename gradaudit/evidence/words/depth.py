"""How the gradient changes along the depth of a model, or why that is not known, and what became of the loss."""

import math

import numpy

from gradaudit.evidence.words.wording import count, fold, number
from gradaudit.findings import NotApplicable, Skipped
from gradaudit.signals.gradients.depth_slope import FIRST_STEPS, Slope, growth_exponent, profiled
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.loss.progress import (
    LEARNED,
    constant_level,
    divergence,
    loss_rebound,
    no_better_share,
    not_learning,
)
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.training import Training

_LOST = 0.5  # of what was gained


def no_profile(training: Training) -> NotApplicable | Skipped:
    """Why there is no profile along the depth: no four layers to compare, or no record of the first steps."""
    if profiled(training).any():
        return NotApplicable(reason="the model has fewer than four weight layers whose gradients can be compared")
    return Skipped(
        reason="no gradient statistics of the first ten steps, with the weights of the start, were recorded",
        enable="record from the first step on",
    )


def along_the_depth(profile: Slope) -> str:
    """How the gradient of the first layers compares with that of the last, in words."""
    larger, smaller = ("last", "first") if profile.drop > 0 else ("first", "last")
    return (
        f"of {count(len(profile.columns))} weight layers the {larger} two have {fold(profile.drop)} times the gradient "
        f"of the {smaller} two, over steps 0 to {FIRST_STEPS}"
    )


def per_layer(profile: Slope) -> str:
    """The same in words, with the factor."""
    exponent = growth_exponent(profile)
    return f"each layer multiplies it by about {number(math.exp(exponent), 2)} (growth exponent {number(exponent, 2)})"


def outcome_sentence(training: Training) -> str:
    """What became of a loss of which `learned_nothing` holds, in a sentence that no other finding contradicts."""
    loss = training_loss(training)
    risen = loss_rebound(loss) if numpy.isfinite(loss.values).all() else None
    # What falls from a large first loss to that of a constant prediction has learned nothing that could be lost.
    best = no_better_share(training.run) * constant_level(loss)
    learned = risen is not None and risen.gained >= LEARNED and not risen.best >= best
    if risen is not None and learned and risen.lost >= _LOST:
        return (
            f"The model has lost what it had learned: the loss starts at {number(loss.first)}, falls to "
            f"{number(risen.best)} and ends at {number(loss.last)}."
        )
    gone = non_finite_onset(training) is not None or divergence(training) is not None
    if not_learning(training) and not gone:
        return "The model has learned nothing."
    return f"The loss starts at {number(loss.first)} and ends at {number(loss.last)}."
