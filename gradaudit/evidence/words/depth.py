"""How the gradient changes along the depth of a model, or why that is not known, and what became of the loss."""

import math

from gradaudit.evidence.words.wording import count, fold, number
from gradaudit.findings import Action, NotApplicable, Skipped
from gradaudit.signals.gradients.depth_slope import FIRST_STEPS, Slope, growth_exponent, profiled
from gradaudit.signals.loss.nothing_gained import NothingGained
from gradaudit.training import Training

NORMALISE = Action(text="Normalise between the layers", code="nn.LayerNorm(width)")


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


def outcome_sentence(gained: NothingGained) -> str:
    """What became of the loss, in a sentence."""
    if gained.kind == "lost":
        return (
            f"The model has lost what it had learned: the loss starts at {number(gained.first)}, falls to "
            f"{number(gained.best)} and ends at {number(gained.last)}."
        )
    if gained.kind == "never learned":
        return "The model has learned nothing."
    return f"The loss starts at {number(gained.first)} and ends at {number(gained.last)}."
