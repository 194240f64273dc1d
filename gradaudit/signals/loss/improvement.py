"""From where to where a loss goes, each taken over several steps: one step says little."""

import math

import msgspec

from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import median

_STARTING = 20  # steps at most whose losses are the start: a long run has learned most in its first twentieth


class Improvement(msgspec.Struct, frozen=True):
    """The loss at the start and at the end of a run."""

    start: float  # median of the first steps
    start_steps: int
    last: float  # mean of the last steps, as `TrainingLoss.last`
    last_steps: int
    share: float  # of the start that is gone at the end; NaN unless the start is positive


def improvement(loss: TrainingLoss) -> Improvement:
    """How much of the loss of the first few steps is gone at the end."""
    first, last = min(_STARTING, max(5, len(loss.values) // 20)), max(5, len(loss.values) // 10)
    start = median(loss.values[:first])
    share = (start - loss.last) / start if start > 0 else math.nan
    return Improvement(start=start, start_steps=first, last=loss.last, last_steps=last, share=share)
