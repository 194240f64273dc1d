"""Jumps of the learning rate within one step, as restarts make them, that raise the loss."""

import math

import msgspec
import numpy

from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, median
from gradaudit.signals.updates.learning_rates import BLIP
from gradaudit.training import Training

AROUND = 10  # steps before and after a jump whose losses are compared
_ERRORS = 3.0  # standard errors: what chance does to two times ten batches


class HarmfulJump(msgspec.Struct, frozen=True):
    """The jump of a group's rate that raises the loss most, and all jumps of the run."""

    step: int  # global
    times: float  # the rate over that of the step before
    old: float  # the rate before
    new: float
    rise: float  # of the median loss, over its first value; not finite where the loss is not
    back: tuple[int, float] | None  # the global step, within a few, at which the rate is low again, and that rate
    jumps: tuple[int, ...]  # global steps of all jumps: those before the first harmful one count, too
    last: int  # global step of the last harmful one; of the last step where the loss never came back

    @property
    def for_once(self) -> bool:
        """Whether it is the only one, and undone at once: no restart."""
        return self.back is not None and len(self.jumps) == 1


def harmful_jump(training: Training, risen: float, gain: float) -> HarmfulJump | None:
    """The worst of the jumps to more than `risen` times that raise the loss by more than `gain` of its first value."""
    rates, loss = training.learning_rates, training_loss(training)
    jumps = _jumps(rates, risen)
    harmful = [(at, rise) for at in jumps if (rise := _rise(loss, at, gain)) is not None]
    if not harmful:
        return None
    at, rise = max(harmful, key=lambda one: numpy.nan_to_num(one[1], nan=numpy.inf))
    ratios = rates[at] / numpy.where(rates[at - 1] > 0, rates[at - 1], numpy.nan)
    group = int(numpy.nanargmax(ratios))
    back = _back(rates[:, group], at, risen)
    return HarmfulJump(
        step=int(loss.steps[at]),
        times=float(ratios[group]),
        old=float(rates[at - 1, group]),
        new=float(rates[at, group]),
        rise=rise,
        back=None if back is None else (int(loss.steps[back]), float(rates[back, group])),
        # Where one jump is known to do harm, those before it count, too: the first has no steps before to compare with.
        jumps=tuple(int(loss.steps[each]) for each in jumps),
        last=int(loss.steps[-1 if _stays_up(loss, at) else harmful[-1][0]]),
    )


def _jumps(rates: Floats, risen: float) -> list[int]:
    """The steps at which the rate of a group is more than `risen` times that of the step before."""
    with numpy.errstate(divide="ignore", invalid="ignore"):
        jumped = ((rates[1:] > risen * rates[:-1]) & (rates[:-1] > 0)).any(axis=1)
    return (numpy.flatnonzero(jumped) + 1).tolist()


def _rise(loss: TrainingLoss, at: int, gain: float) -> float | None:
    """By which share of its first value the loss rises at a jump; None where it does not, or that is not known."""
    # The steps before are compared with those right after, since a model may recover from its restart.
    before, after = loss.values[max(0, at - AROUND) : at], loss.values[at + 1 : at + 1 + AROUND]
    if at < AROUND or not len(after) or not loss.first > 0:
        return None
    rise = (median(after) - median(before)) / loss.first
    noise = math.hypot(before.std(), after.std()) / math.sqrt(AROUND) / loss.first
    breaks = numpy.isfinite(before).all() and not numpy.isfinite(after).all()
    return rise if rise > max(gain, _ERRORS * noise) or breaks else None


def _back(rate: Floats, at: int, risen: float) -> int | None:
    """The step, within a few of a jump at step `at`, from which a rate is near that before it; None where it stays."""
    after = rate[at + 1 : at + 1 + BLIP]
    low = numpy.flatnonzero(after * risen < rate[at])
    return at + 1 + int(low[0]) if len(low) else None


def _stays_up(loss: TrainingLoss, at: int) -> bool:
    """Whether the loss never came back to where it was before the jump at step `at`."""
    jump = loss.steps[at]
    before, after = loss.values[loss.steps < jump][-AROUND:], loss.values[loss.steps >= jump][AROUND:]
    if not len(before) or not len(after):
        return True
    medians = [float(numpy.median(after[i : i + AROUND])) for i in range(0, len(after), AROUND)]
    return not min(medians) <= float(numpy.median(before))
