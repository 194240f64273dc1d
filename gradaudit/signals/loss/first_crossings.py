"""What left its usual range first at a spike of the loss: the updates, the gradient or the loss itself."""

import math
from typing import Literal

import msgspec
import numpy

from gradaudit.signals.loss.spikes import Spikes
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import Floats, median
from gradaudit.training import Training

First = Literal["update", "gradient", "batch", "loss", "unclear", "unknown"]

_USUAL = 128  # steps before, as Levanter takes for the norm of the update (clip_update_norm.py)
_LEAST = 16  # of them whose value is known: a median of fewer says little
_EARLIER = 10  # steps before the spike: a cause is near, and loss spikes come 1 to 8 steps after (arXiv 2304.13013)
_DEVIATIONS = 5.0  # robust ones; Levanter has 2 to 3 of a normal deviation, which noise alone crosses once in 40 steps
_TIMES = 1.2  # of the median: updates of Adam scatter by a few percent, of which five deviations are nothing


class Crossings(msgspec.Struct, frozen=True):
    """The first steps, as indices of this optimizer's, at which each left its usual range; None where it did not."""

    first: First
    update: int | None
    gradient: int | None
    loss: int | None


def first_crossings(training: Training, loss: TrainingLoss, spikes: Spikes) -> Crossings:
    """What rose first at the highest spike, from a few steps before it to its end.

    A loss and a gradient belong to the weights before the step, an update to what the step does. So a gradient that
    rises with the loss is the batch's, and an update that rises before both is the optimizer's own.
    """
    norms = training.steps["gradient_norm"].to_numpy(dtype=float)
    update, known_updates = _crossing(update_norms(training), spikes)
    gradient, known_gradients = _crossing(norms, spikes)
    risen, _ = _crossing(loss.values, spikes)
    never = math.inf
    by_update, by_gradient = (never if at is None else at for at in (update, gradient))
    first: First = "loss"  # an update of the same step comes after it
    if not (known_updates and known_gradients):
        first = "unknown"
    elif risen is None:
        first = "unclear"
    elif by_update < min(by_gradient, risen):
        first = "update"
    elif by_gradient < risen:
        first = "gradient"
    elif by_gradient == risen:
        first = "batch"
    return Crossings(first, update, gradient, risen)


def update_norms(training: Training) -> Floats:
    """[steps]: L2 norm of the whole update over the learning rate; NaN where it was not recorded.

    Over the learning rate, since a step that a schedule makes longer is no surprise.
    """
    own = training.steps["step"].to_numpy(dtype=numpy.int64)
    norms = numpy.full(len(own), numpy.nan)
    updates = training.matrix("update_norm")
    mine = numpy.asarray([tensor.optimizer == training.id for tensor in training.tensors], dtype=bool)
    recorded = training.recorded
    known = numpy.isin(recorded, own)
    with numpy.errstate(over="ignore"):
        whole = numpy.sqrt(numpy.nansum(updates[known][:, mine] ** 2, axis=1))
    norms[numpy.isin(own, recorded)] = numpy.where(whole > 0, whole, numpy.nan)
    rates = training.learning_rates
    highest = numpy.where(numpy.isfinite(rates), rates, 0.0).max(axis=1, initial=0.0)
    return numpy.where(highest > 0, norms / numpy.where(highest > 0, highest, 1.0), norms)


def _crossing(values: Floats, spikes: Spikes) -> tuple[int | None, bool]:
    """The first index near the spike at which `values` leaves its usual range, and whether all of them are known."""
    begin = max(0, spikes.first - _EARLIER)
    before = values[max(0, begin - _USUAL) : begin]
    near = values[begin : spikes.last + 1]
    if numpy.isfinite(before).sum() < _LEAST or numpy.isnan(near).any():
        return None, False
    middle = median(before)
    scatter = 1.4826 * median(numpy.abs(before - middle))
    high = numpy.flatnonzero(near > max(middle + _DEVIATIONS * scatter, _TIMES * middle))
    return (begin + int(high[0]) if len(high) else None), True
