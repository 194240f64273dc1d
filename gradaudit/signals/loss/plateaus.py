"""Where a loss stops falling: the step, how fast it had been falling until then, and what became of the gradient."""

import math

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.signals.layers.untrained import MOST, initial_share
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats, median
from gradaudit.signals.thresholds import threshold
from gradaudit.signals.updates.learning_rates import at_most, sustained
from gradaudit.training import Training, signal

LEAST_STEPS = 100
FLAT, UNFINISHED, LEFT = 0.02, 0.1, 0.3  # of the start, as on the page of `premature_plateau`
EARLY, SPENT = 0.6, 0.01  # of the steps, of the peak; likewise
WORTH = 0.1  # of the steps; an exponential decay to 1 % at the end of the run has 0.21, a linear or cosine one 0.5
STILL = 0.3  # of a small gain, over the second half of the learning rate; where it falls evenly it is half


class Plateau(msgspec.Struct, frozen=True, eq=False):
    """The stretch at the end of a run over which the loss stays where it is; losses are shares of the first one."""

    start: int  # index of this optimizer's step
    level: float  # the loss over the plateau
    fell: float  # over the half of the steps before the plateau
    gradient: float  # median gradient norm over the last fifth / over the half before the plateau; NaN if not known
    rate: float  # learning rate at the start of the plateau / its peak; NaN if not known


@signal
def plateau(training: Training, flat: float) -> Plateau | None:
    """The plateau that the run ends on: from its start on the loss stays within `flat` of its last level.

    None for runs under `LEAST_STEPS`, losses that are not positive or not finite at the start, and a loss that
    still falls, or never did.
    """
    loss = training_loss(training)
    values = loss.values
    count = len(values)
    start_level = float(numpy.median(values[:3])) if count >= LEAST_STEPS else math.nan
    if not (math.isfinite(start_level) and start_level > 0) or not numpy.isfinite(values).all():
        return None
    width = max(5, count // 50)
    smooth = _centred(values, width) / start_level
    level = float(numpy.median(smooth[-max(5, count // 10) :]))
    outside = numpy.flatnonzero(numpy.abs(smooth - level) > flat)
    start = int(outside[-1]) + 1 if len(outside) else 0
    if start < 2 * width or start >= count - width:
        return None
    norms = training.steps["gradient_norm"].to_numpy(dtype=float)
    before, after = median(norms[start // 2 : start]), median(norms[-max(5, count // 5) :])
    return Plateau(
        start=start,
        level=level,
        fell=float(smooth[start // 2] - smooth[start]),
        gradient=after / before if before > 0 else math.nan,
        rate=_rate(training, start),
    )


class EarlyDecay(msgspec.Struct, frozen=True, eq=False):
    """The stretch at the end of a run over which the learning rate has decayed; losses are shares of the start."""

    start: int  # index of this optimizer's step
    half: int  # that at which half of the learning rate was spent, summed over the steps
    then: float  # the loss around that step, as it is
    reached: float  # the loss over the first half of the stretch, as it is
    level: float  # the loss at the end
    gained: float  # from the first steps to the end
    fell: float  # from half to all of the learning rate, summed over the steps
    after: float  # from the first half of the stretch to the second
    noise: float  # standard error of `fell`
    worth: float  # the sum of the learning rates over the peak: so many steps at the peak, as a share of the steps


@signal
def decayed_too_early(training: Training, spent: float) -> EarlyDecay | None:
    """Where the largest learning rate falls for good to `spent` of its peak; None where it does not, or is not known.

    What a loss does while the learning rate falls is told against the sum of the rates: of a rate that fades over 100
    steps, most is spent in the first ten.
    """
    values = training_loss(training).values
    of_groups = training.learning_rates
    if not numpy.isfinite(of_groups).all():
        return None
    rates = sustained(of_groups.max(axis=1, initial=0.0))
    high = numpy.flatnonzero(~at_most(rates, spent, rates.max(initial=0.0)))
    start = int(high[-1]) + 1 if len(high) else 0
    if len(values) < LEAST_STEPS or not 10 <= start <= len(values) - 10 or not numpy.isfinite(values).all():
        return None
    width = max(5, start // 10)
    first = median(values[:width])
    half = int(numpy.searchsorted(numpy.cumsum(rates[:start]), rates[:start].sum() / 2))
    around = values[max(0, half - width) : half + width]
    middle = (start + len(values)) // 2
    then, early, late = median(around), median(values[start:middle]), median(values[middle:])
    # What the differences of neighbours and a median are of independent normal values.
    scatter = median(numpy.abs(numpy.diff(values[start:]))) / 0.954
    noise = 1.25 * scatter * math.sqrt(1 / len(around) + 1 / (middle - start))
    if not first > 0:
        return None
    return EarlyDecay(
        start=start,
        half=half,
        then=then,
        reached=early,
        level=late / first,
        gained=(first - late) / first,
        fell=(then - early) / first,
        after=(early - late) / first,
        noise=noise / first,
        worth=float(rates.sum() / rates.max() / len(rates)),
    )


def stopped_by_decay(
    training: Training,
    *,
    spent: float | None = None,
) -> EarlyDecay | None:
    """Where a decayed learning rate has stopped a loss that would go on falling; None where it has not.

    The limits are those of `premature_plateau`, whose page tells what they mean; `spent`, a share of the peak, may be
    another one's.
    """
    run = training.run
    flat, early = flat_share(run), threshold(run, "premature_plateau.early", EARLY)
    left, unfinished = threshold(run, "premature_plateau.left", LEFT), unfinished_share(run)
    decay = decayed_too_early(training, threshold(run, "premature_plateau.spent", SPENT) if spent is None else spent)
    if decay is None or diverges(training) is not None:
        return None
    steps = len(training_loss(training).values)
    stopped = decay.start < early * steps and decay.after < flat and decay.level > left
    # A loss that can fall by little falls as fast as others at first, and has come to rest like them later.
    begun = decay.gained < unfinished and decay.fell >= still_falling(decay)
    # A model that was trained before may have little to gain, and its learning rate lowered because of that.
    new = hardly_begun(decay, unfinished) and initial_share(training) >= MOST
    return decay if stopped and (decay.fell >= unfinished or begun or new) else None


def flat_share(run: Run) -> float:
    """The fall, as a share of the first loss, below which `premature_plateau` calls a loss flat."""
    return threshold(run, "premature_plateau.flat", FLAT)


def unfinished_share(run: Run) -> float:
    """The fall, as a share of the first loss, by which `premature_plateau` calls a loss unfinished."""
    return threshold(run, "premature_plateau.unfinished", UNFINISHED)


def hardly_begun(decay: EarlyDecay, unfinished: float) -> bool:
    """Whether the learning rate had decayed before the loss had got anywhere: all steps are worth next to none."""
    return decay.worth < WORTH and decay.gained < unfinished and decay.fell < still_falling(decay)


def still_falling(decay: EarlyDecay) -> float:
    """The fall over the second half of the learning rate that is large beside a small gain, and no noise."""
    return max(STILL * decay.gained, 2 * decay.noise)


def _centred(values: Floats, width: int) -> Floats:
    import pandas

    series = pandas.Series(values).rolling(2 * (width // 2) + 1, center=True, min_periods=1).median()
    return numpy.asarray(series, dtype=numpy.float64)


def _rate(training: Training, start: int) -> float:
    rates = training.learning_rates
    if not rates.size or not numpy.isfinite(rates).any():
        return math.nan
    largest = numpy.where(numpy.isfinite(rates), rates, 0.0).max(axis=1)
    return float(largest[start] / largest.max()) if largest.max() > 0 else math.nan
