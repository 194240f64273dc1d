"""A validation loss that is above the training loss before anything can have been memorised."""

import math

import msgspec

from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.generalisation import TrainingCurve
from gradaudit.signals.loss.progress import start_level
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import Floats

_CARRIED = 0.3  # of what training has gained by the first evaluation; in healthy runs most of it carries over
_GAINED = 0.1  # of the first loss: of less nothing can be told
_EPOCHS = 2.0  # after fewer, each example was seen too seldom to be memorised


class EarlyGap(msgspec.Struct, frozen=True):
    """Little of what training has gained by the first evaluation shows in the validation loss."""

    start: float  # training loss
    there: float  # training loss at the first evaluation
    carried: float  # of what was gained, over to the validation loss; a fraction


def early_gap(
    run: Run, losses: list[TrainingLoss], train: TrainingCurve, steps: Floats, values: Floats
) -> EarlyGap | None:
    """What the first of the validation losses (finite ones, at these steps) shows.

    None where most of what was gained carried over, or it was too late to tell.
    """
    loss = losses[0]
    batches = run.meta.data.batches_per_epoch
    # Gradients may be accumulated over several batches, and a step takes one at least.
    taken = max(steps[0] + 1, float(loss.training.steps["micro_steps"][loss.steps <= steps[0]].sum()))
    seen = taken / batches if batches else math.nan
    if not train.comparable or len(losses) > 1 or loss.shapeless or not 0 < seen <= _EPOCHS:
        return None
    start, there = start_level(loss), float(train.at(steps[:1])[0])
    gained, carried = start - there, start - float(values[0])
    if not gained > _GAINED * start or not carried < _CARRIED * gained:
        return None
    return EarlyGap(start=start, there=there, carried=max(0.0, carried / gained))
