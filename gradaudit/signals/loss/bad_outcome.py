"""What became of a training, where that is bad enough to call the start its cause."""

from typing import Literal

import msgspec

from gradaudit.signals.gradients.finiteness import diverged_before, non_finite_onset
from gradaudit.signals.loss.progress import divergence, not_learning
from gradaudit.training import Training


class BadOutcome(msgspec.Struct, frozen=True):
    """A training that went wrong."""

    kind: Literal["diverged to non-finite", "diverged", "learned nothing"]
    step: int | None = None  # global; None where it learned nothing


def bad_outcome(training: Training) -> BadOutcome | None:
    """The first of the three that holds, or None. NaN or infinity that came out of nothing is none of them."""
    onset = non_finite_onset(training)
    if onset is not None and diverged_before(onset):
        return BadOutcome("diverged to non-finite", onset.step)
    away = divergence(training)
    if away is not None:
        return BadOutcome("diverged", away)
    return BadOutcome("learned nothing") if not_learning(training) else None
