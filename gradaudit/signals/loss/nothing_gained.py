"""What became of a loss that gained nothing: nothing was learned, or what was learned is lost."""

from typing import Literal

import msgspec
import numpy

from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.loss.progress import (
    LEARNED,
    constant_level,
    divergence,
    learned_nothing,
    loss_rebound,
    no_better_share,
    not_learning,
)
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.training import Training, signal

_LOST = 0.5  # of what was gained


class NothingGained(msgspec.Struct, frozen=True):
    """A loss of which `learned_nothing` holds."""

    kind: Literal["lost", "never learned", "broke"]
    first: float
    best: float  # mean of the lowest tenth; NaN but where it is lost
    last: float


@signal
def nothing_gained(training: Training) -> NothingGained | None:
    """What became of the loss, so that no other finding contradicts it; None where `learned_nothing` does not hold."""
    if not learned_nothing(training):
        return None
    loss = training_loss(training)
    risen = loss_rebound(loss) if numpy.isfinite(loss.values).all() else None
    # What falls from a large first loss to that of a constant prediction has learned nothing that could be lost.
    with numpy.errstate(invalid="ignore"):
        best = no_better_share(training.run) * constant_level(loss)
    learned = risen is not None and risen.gained >= LEARNED and not risen.best >= best
    if risen is not None and learned and risen.lost >= _LOST:
        return NothingGained("lost", loss.first, risen.best, loss.last)
    gone = non_finite_onset(training) is not None or divergence(training) is not None
    kind: Literal["never learned", "broke"] = "never learned" if not_learning(training) and not gone else "broke"
    return NothingGained(kind, loss.first, numpy.nan, loss.last)
