"""The padding that a recurrent layer reads before the step that predictions are made from."""

import math
from typing import NamedTuple

from gradaudit.reading.run import Run
from gradaudit.signals.data.sources import training_sources
from gradaudit.signals.loss.progress import constant_level
from gradaudit.signals.loss.training_loss import training_loss

_INSIDE = 0.05  # of the positions with the id of the padding that stand before other ids: it is a word then


class PaddedLastStep(NamedTuple):
    """What is known of the last step and the padding before it."""

    rows: int
    padded: float  # share of the rows that end in padding
    share: float  # of the positions
    steps: float  # of padding at the end of a padded row, in the mean
    one_id: bool  # the padding is one id that words do not have


def padded_last_steps(run: Run) -> PaddedLastStep | None:
    """The training source with most of it; None where no predictions are made from such a step."""
    known = [source.last_step for source in training_sources(run) if source.last_step.found]
    if not known:
        return None
    facts = max(known, key=lambda one: one.padding)
    return PaddedLastStep(
        rows=facts.rows,
        padded=facts.padded / facts.rows if facts.rows else 0.0,
        share=facts.padding / facts.positions if facts.positions else 0.0,
        steps=facts.padding / facts.padded if facts.padded else 0.0,
        one_id=facts.one_id and facts.inside <= _INSIDE * facts.padding,
    )


def left_of_constant(run: Run) -> float:
    """The lowest of the last training losses, of that of the best constant prediction; NaN where that is not known."""
    losses = [loss for training in run.trainings if (loss := training_loss(training)) is not None]
    shares = [loss.last / level for loss in losses if (level := constant_level(loss)) > 0]
    return min(shares, default=math.nan)
