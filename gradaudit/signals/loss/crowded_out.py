"""A loss that learns nothing beside other terms that were minimised well: a posterior that collapsed, say."""

import re

import msgspec

from gradaudit.signals.loss.objective import factor
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import median

_STARTED = 0.05  # of the objective: less was never much of it
_LEFT = 0.1  # of what the rest was at first: it is nearly gone
_FIRST = 3  # steps
# What the layers of a variational autoencoder are called that give the mean and the spread of its code.
_LATENT = re.compile(r"(^|[._])(fc_)?(mu|mean|z_mean|log_?var|log_?std|log_?sigma|sigma)($|[._\d])", re.IGNORECASE)


class Rest(msgspec.Struct, frozen=True):
    """The part of the objective that is not the loss, at first and at the end, as shares of the objective."""

    first: float
    last: float
    latent: bool  # the model has layers named as those of a variational autoencoder


def crowding(loss: TrainingLoss) -> Rest | None:
    """The other terms where they have gone to nearly nothing; None where there are none, or they have not.

    The loss counts by the least weight that it had, so that the rest is never negative.
    """
    times = factor(loss.training.steps, loss.values)
    if times is None or times.values.min() <= 0:
        return None
    least = float(times.values.min())
    first = 1 - least / float(times.values[:_FIRST].max())
    last = 1 - least / median(times.values[-max(5, len(times.values) // 10) :])
    if first < _STARTED or last > _LEFT * first:
        return None
    latent = any(_LATENT.search(module.name) for module in loss.training.run.meta.modules)
    return Rest(first, last, latent)
