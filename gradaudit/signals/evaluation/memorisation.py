"""Training examples that are learned by heart, while what is learned does not help on validation data."""

import msgspec
import numpy

from gradaudit.signals.evaluation.generalisation import comparison, held_out_rise, rise_limits
from gradaudit.signals.evaluation.validation import Evaluations
from gradaudit.signals.loss.progress import not_learning
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss


class Memorisation(msgspec.Struct, frozen=True):
    """The training loss ends below a level that the validation loss never gets below."""

    rising: bool  # the validation loss rises meanwhile, as `overfitting` says
    unseen: bool  # from the first evaluation on, at which the training loss was below: what was before is not known


def memorisation(loss: TrainingLoss, held_out: Evaluations, level: float) -> Memorisation | None:
    """How this training loss gets below a level that the validation loss, of some finite values, does not; or None."""
    if not_learning(loss.training) or not loss.last < level:
        return None
    run, finite = loss.training.run, numpy.isfinite(held_out.losses)
    steps = held_out.steps[finite].astype(float)
    train = comparison(run, [training_loss(training) for training in run.trainings])
    rise = held_out_rise(held_out.losses[finite], train, steps, rise_limits(run))
    # What was known before the first evaluation nobody has looked at.
    unseen = rise.clear and rise.best == 0 and bool(train.at(steps[:1])[0] < level)
    return Memorisation(rising=rise.clear, unseen=unseen)
