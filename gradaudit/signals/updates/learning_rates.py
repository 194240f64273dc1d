"""Learning rates as numbers: per step and parameter group, and what kind of optimizer uses them."""

import numpy

from gradaudit.schema import BY_HAND
from gradaudit.signals.order_statistics import Floats, Mask
from gradaudit.training import Training, signal

# Updates of these do not grow with the gradient, so its scale does not matter to them.
_ADAPTIVE = ("adam", "rmsprop", "adagrad", "adadelta", "lion", "lamb", "adafactor", "muon", "rprop")


BLIP = 5  # steps: a rate that is back by then was wrong for once
_ROUNDING = 1e-6  # learning rates are kept as float32: a hundredth of one is seldom exactly that


def at_most(rates: Floats, share: float, peak: float) -> Mask:
    """Where a rate is `share` of `peak` or less, as far as float32 can tell."""
    return numpy.asarray(rates <= share * peak * (1 + _ROUNDING))


def below(rates: Floats, share: float, peak: float) -> Mask:
    """Where a rate is less than `share` of `peak`, and not just that as float32 keeps it."""
    return numpy.asarray(rates < share * peak * (1 - _ROUNDING))


def sustained(rate: Floats, times: float = 3.0) -> Floats:
    """[steps]: a rate without its blips: jumps to more than `times` that are undone within `BLIP` steps.

    One wrong step is no peak that a schedule comes down from.
    """
    kept = rate.copy()
    with numpy.errstate(invalid="ignore"):
        jumps = numpy.flatnonzero((rate[1:] > times * rate[:-1]) & (rate[:-1] > 0)) + 1
    for at in jumps.tolist():
        back = numpy.flatnonzero(rate[at + 1 : at + 1 + BLIP] <= times * rate[at - 1])
        if len(back):
            kept[at : at + 1 + int(back[0])] = kept[at - 1]
    return kept


def line_search(training: Training) -> bool:
    """Whether the optimizer (LBFGS) chooses each step's length by the loss: a long step is then no sign of harm."""
    return optimizer_class(training) == "LBFGS"


def maximizes(training: Training) -> bool:
    """Whether the optimizer was made with maximize=True: it then walks up what backward() was called on."""
    facts = training.optimizer
    return facts is not None and facts.defaults.get("maximize") is True


@signal
def recorded_learning_rates(training: Training) -> Floats:
    """[recorded steps, tensors]: the learning rate of each tensor's group; NaN when it has no group."""
    rates = training.learning_rates
    tensors = training.tensors
    own = training.steps["step"].to_numpy(dtype=numpy.int64)
    recorded = training.recorded
    if not len(own) or not len(recorded):
        return numpy.full((len(recorded), len(tensors)), numpy.nan)
    rows = rates[numpy.clip(numpy.searchsorted(own, recorded), 0, len(own) - 1)]
    groups = numpy.asarray([t.group if 0 <= t.group < rows.shape[1] else -1 for t in tensors], dtype=numpy.int64)
    if len(set(groups.tolist())) == 1 and groups[0] >= 0:
        return numpy.broadcast_to(rows[:, groups[:1]], (len(rows), len(tensors)))
    return numpy.column_stack([rows, numpy.full(len(rows), numpy.nan)])[:, groups]


def peak_rates(training: Training) -> Floats:
    """[parameter groups]: the greatest learning rate of each group over the run; NaN when none was recorded."""
    rates = training.learning_rates
    finite = numpy.where(numpy.isfinite(rates), rates, -numpy.inf).max(axis=0, initial=-numpy.inf)
    return numpy.where(numpy.isfinite(finite), finite, numpy.nan)


def still_rising(training: Training) -> bool:
    """Whether the learning rate is at its highest at the last step, and was clearly lower at the middle one."""
    rates = numpy.nan_to_num(training.learning_rates).max(axis=1, initial=0.0)
    return bool(len(rates) and rates[-1] >= rates.max() and rates[len(rates) // 2] < 0.9 * rates[-1])


def made_with(training: Training) -> float:
    """The learning rate that the optimizer was made with, on which schedules build; NaN where it is not known."""
    facts = training.optimizer
    value = facts.defaults.get("lr") if facts else None
    return float(value) if isinstance(value, int | float) else float("nan")


def same_rate(rates: Floats) -> bool:
    """Whether all groups have one learning rate: only then one line of code can set it."""
    return len(set(rates[numpy.isfinite(rates)].tolist())) == 1


def by_hand(training: Training) -> bool:
    """Whether no optimizer steps: the script itself changes the parameters."""
    return optimizer_class(training) == BY_HAND


def optimizer_class(training: Training) -> str:
    """The class of an optimizer, or 'optimizer' when it is not known."""
    return training.optimizer.optimizer_class if training.optimizer else "optimizer"


def is_adaptive(training: Training) -> bool:
    """Whether the optimizer divides out the scale of the gradient, as Adam does and SGD does not.

    Updates by hand whose formula is not known may do so.
    """
    if by_hand(training):
        return not numpy.isfinite(peak_rates(training)).any()
    name = optimizer_class(training).lower()
    return any(word in name for word in _ADAPTIVE)
