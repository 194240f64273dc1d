"""A schedule that raises the learning rate to the last step, and a loss that comes up again on the way."""

import math

import msgspec
import numpy

from gradaudit.signals.loss.progress import TENTHS, loss_rebound
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, median
from gradaudit.signals.thresholds import threshold
from gradaudit.signals.updates.learning_rates import made_with
from gradaudit.training import Training, signal

RISEN = 3.0  # times; a rate that grows by less is no warmup
LOST, ERRORS = 0.15, 4.0  # as in `unstable_loss`, which tells why
_GAINED = 0.1  # of the first loss: less is what batches differ by
_LAST = 0.95  # of the run: a peak after it is at its end
_LONGER = 1.5  # times: a last level that is no longer than the ones before is one more stair


HALF = 0.5  # of the optimizer's own rate: a warmup that ends below has not come to its end
_BATCHES, _STAIRS = 2, 4  # in an epoch, and changes of the rate: of fewer it may be chance


class IncreasingSchedule(msgspec.Struct, frozen=True, eq=False):
    """A learning rate that never falls and is highest at the end, and the loss that it has driven up again."""

    risen: int  # global step at which the rate has risen `RISEN` times
    since: int  # the global step before which the loss was lowest: the first one after its lowest tenth
    lowest: float  # median of that tenth
    rates: Floats  # [groups] at that step
    last: Floats  # [groups] at the last step


class MonotonicIncrease(msgspec.Struct, frozen=True):
    """A learning rate that rises to the end of the run."""

    loss: TrainingLoss
    first: float
    last: float
    steps: int
    harm: IncreasingSchedule | None  # it has driven the loss up again
    changes: int  # between epochs, and none within; 0 where that is not known
    made_with: float  # the learning rate that the optimizer was made with; NaN where it is not known
    in_epochs: bool  # a warmup that is counted in steps is stepped once an epoch
    since: int  # global step: the first, or that from which on it did harm
    until: int  # the last


def monotonic_increase(training: Training, rate: Floats, risen: float, stairs: float) -> MonotonicIncrease:
    """The increase of a rate [steps], and whether it changes over so many epochs or more, once in each."""
    loss, changes, whole = training_loss(training), once_an_epoch(training, rate), made_with(training)
    harm = increasing_schedule(training)
    # A run that was stopped may have been stopped in its warmup, and a short one ends near the end of it.
    in_epochs = changes + 1 >= stairs and rate[-1] < HALF * whole and training.run.state == "finished"
    # Of a scheduler of torch's kind its calls are known, and `scheduler_units` judges them.
    in_epochs &= not any(one.optimizer == training.id and one.calls for one in training.run.meta.schedules.schedulers)
    return MonotonicIncrease(
        loss=loss,
        first=float(rate[0]),
        last=float(rate[-1]),
        steps=len(rate),
        harm=harm,
        changes=changes,
        made_with=whole,
        in_epochs=bool(in_epochs),
        since=harm.risen if harm else int(loss.steps[0]),
        until=int(loss.steps[-1]),
    )


def rises(rate: Floats, times: float) -> bool:
    """Whether a rate [steps] never falls, is still rising at the end, and rises more than `times` over the run.

    A schedule that is advanced once an epoch rises in stairs, and the last one is as long as the others.
    """
    if not len(rate) or not rate[-1] > times * rate[0] or not (numpy.diff(rate) >= 0).all():
        return False
    stairs = numpy.flatnonzero(numpy.diff(rate)) + 1
    before = numpy.diff(numpy.concatenate([[0], stairs]))
    one_more = len(stairs) >= _STAIRS and len(rate) - stairs[-1] <= _LONGER * before.max()
    return bool(stairs[-1] >= _LAST * (len(rate) - 1) or one_more)


def once_an_epoch(training: Training, rate: Floats) -> int:
    """How often a rate [steps] changed, where it only did so between passes over the data; 0 where it is unknown."""
    batches = training.run.meta.data.batches_per_epoch
    stairs = numpy.flatnonzero(numpy.diff(rate)) + 1
    if batches < _BATCHES or len(stairs) < _STAIRS:
        return 0
    seen = numpy.cumsum(training.steps["micro_steps"].to_numpy(dtype=numpy.int64))
    return len(stairs) if (seen[stairs - 1] % batches == 0).all() else 0


@signal
def increasing_schedule(training: Training) -> IncreasingSchedule | None:
    """The rising learning rate that has undone what the loss had gained; None where the loss came to no harm.

    The loss has to have fallen first, under a lower rate: then it is the rise that has driven it up.
    """
    loss, rates = training_loss(training), training.learning_rates
    times = threshold(training.run, "learning_rate_schedule.risen", RISEN)
    known = numpy.where(numpy.isfinite(rates), rates, -numpy.inf).max(axis=1, initial=-numpy.inf)
    if loss.shapeless or len(known) < TENTHS or not numpy.isfinite(known).all() or not rises(known, times):
        return None
    finite = numpy.flatnonzero(numpy.isfinite(loss.values))
    # What follows the last finite loss is no part of the course of the loss.
    values = loss.values[: int(finite[-1]) + 1] if len(finite) else loss.values[:0]
    harmed = _harmed(training, len(values))
    parts = numpy.array_split(numpy.arange(len(values)), TENTHS)
    if harmed is None or len(values) < TENTHS or not loss.first > 0:
        return None

    before = [part for part in parts if part[-1] < harmed]
    levels = [median(values[part]) for part in before]
    if not before or not math.isfinite(min(levels)):
        return None
    best = int(numpy.argmin(levels))
    since, lowest = int(before[best][-1]) + 1, levels[best]
    if not loss.first - lowest >= _GAINED * loss.first or not known[harmed] > times * known[0]:
        return None
    return IncreasingSchedule(
        risen=int(loss.steps[numpy.argmax(known > times * known[0])]),
        since=int(loss.steps[since]),
        lowest=lowest,
        rates=rates[since],
        last=rates[-1],
    )


def _harmed(training: Training, count_finite: int) -> int | None:
    """The index of the step at which the loss is known to have come up: it diverges, ends in NaN, or rises again."""
    loss = training_loss(training)
    away = diverges(training)
    if away is not None:
        return int(numpy.argmax(loss.steps >= away))
    if count_finite < len(loss.values):
        return None  # NaN without a rise before it may have any cause
    lost = threshold(training.run, "unstable_loss.lost", LOST)
    errors = threshold(training.run, "unstable_loss.errors", ERRORS)
    rebound = loss_rebound(loss)
    if rebound and rebound.lost >= lost and rebound.errors >= errors and rebound.gained >= _GAINED:
        return len(loss.values) - 1
    return None


def sound(rise: IncreasingSchedule) -> Floats:
    """[groups]: a third of the rates at which the loss was lowest, to two digits."""
    return numpy.asarray([float(f"{rate / 3:.2g}") for rate in rise.rates])
