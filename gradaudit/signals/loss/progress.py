"""Whether training gets anywhere: divergence, no better than a constant, epochs passed."""

import math

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.signals.loss.constant_predictor import constant_loss, uniform_loss
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import median, running_median
from gradaudit.signals.thresholds import threshold
from gradaudit.training import Training, signal

# Figures measured over 410 healthy and 618 faulty runs of small networks, in the tests' words:
SMOOTH = 5  # steps of the running median
DOUBLED = 2.0  # times the start or the constant predictor; healthy runs stay below 1.3
WORSE = 1.15  # last over first loss; healthy runs stay below 1
BACK = 0.9  # of the start: a loss that ends below it has come back, whatever it did on the way
TENTHS = 10
NO_BETTER = 0.98  # share of the constant predictor's loss
NO_PROGRESS = 0.02  # share of the first loss gained over the last half
MOST_BATCHES = 10**8  # of an epoch: more is a sampler that never ends
FEW_TARGETS = 8  # below this the first loss alone is too noisy to compare with
SMOOTH_TARGETS = 32  # the running median covers at least as many targets, within 50 steps


class LossRebound(msgspec.Struct, frozen=True):
    """How the last tenth of the run compares with the lowest one."""

    index: int  # the first step of the lowest tenth
    until: int  # the first one after it
    best: float
    last: float
    gained: float  # by the lowest tenth, share of the first loss
    lost: float  # of that, by the last tenth
    errors: float  # standard errors between their means


def constant_level(loss: TrainingLoss) -> float:
    """The loss of the best constant predictor; NaN when it is not known."""
    return constant_loss(loss.facts, loss.kind) if loss.facts else math.nan


def untrained_level(loss: TrainingLoss) -> float:
    """The loss of a uniform prediction, in regression of the best constant one; NaN when it is not known."""
    if loss.facts is None:
        return math.nan
    return constant_level(loss) if loss.kind == "regression" else uniform_loss(loss.facts, loss.kind)


def start_level(loss: TrainingLoss) -> float:
    """The first loss; with fewer than `FEW_TARGETS` targets a batch at least the median of the first five."""
    first = loss.first
    if len(loss.targets) and 0 < loss.targets[0] < FEW_TARGETS:
        first = float(numpy.fmax(first, running_median(loss.values)[:SMOOTH][-1]))
    return first


def smoothing_window(loss: TrainingLoss) -> int:
    """Steps of the running median: five, or as many as cover `SMOOTH_TARGETS` targets, at most 50."""
    targets = max(1.0, median(loss.targets.astype(float))) if len(loss.targets) else 1.0
    known = bool((loss.targets > 0).any())
    return min(50, max(SMOOTH, math.ceil(SMOOTH_TARGETS / targets))) if known else SMOOTH


def _beginning(loss: TrainingLoss, start: float) -> float:
    """What the mean of the last losses is held against: of small batches the mean of the first, if that is more."""
    width = smoothing_window(loss)
    if width <= SMOOTH:
        return start
    # The losses of single examples are skewed: their mean lies far above their median.
    return float(numpy.fmax(start, loss.values[:width].mean()))


def _noise(loss: TrainingLoss) -> float:
    """Standard error of `loss.last`."""
    tail = loss.values[-max(5, len(loss.values) // 10) :]
    with numpy.errstate(invalid="ignore", over="ignore"):
        return float(tail.std() / math.sqrt(len(tail)))


def _scatter(loss: TrainingLoss) -> float:
    """Standard deviation of the loss from batch to batch at the start of the run, by the steps between neighbours."""
    with numpy.errstate(invalid="ignore"):
        return median(numpy.abs(numpy.diff(loss.values[:20]))) / 0.954  # what it is of independent normal values


@signal
def divergence(training: Training) -> int | None:
    """The global step at which the loss left for good where it started, or None.

    None also for losses whose shape says nothing (`TrainingLoss.shapeless`), and for one that ends well below its
    start, as it came back. Judged on finite values: a run that ends in NaN diverged only if the loss rose before.
    """
    loss = training_loss(training)
    doubled = threshold(training.run, "divergence.doubled", DOUBLED)
    worse = threshold(training.run, "divergence.worse", WORSE)
    if loss.shapeless or len(loss.values) < 5:
        return None
    start = start_level(loss)
    constant = constant_level(loss)
    level = start if math.isnan(constant) else max(start, constant)
    # Twice a loss of zero or less is no height that it could rise to.
    if not math.isfinite(level) or level <= 0:
        return None
    smooth = running_median(loss.values, smoothing_window(loss))
    above = smooth > doubled * level
    above[:3] = False
    if above.any() and not loss.last < BACK * start:
        return int(loss.steps[numpy.argmax(above)])
    beginning = _beginning(loss, start)
    # The first loss is that of one batch, and may be as far off as the last ones are from each other.
    if loss.last - math.hypot(2 * _noise(loss), worse * _scatter(loss)) > worse * beginning:
        risen = smooth > worse * beginning
        return int(loss.steps[numpy.argmax(risen)]) if risen.any() else int(loss.steps[-1])
    return None


def no_better_share(run: Run) -> float:
    """The share of a constant prediction's loss that `no_learning` calls no better than it."""
    return threshold(run, "no_learning.constant", NO_BETTER)


@signal
def not_learning(training: Training) -> bool:
    """Whether the loss ends no lower than the best constant predictor's and has stopped falling.

    False where that is not known: a loss that is not interpretable, unknown labels, fewer than 100 steps.
    """
    loss = training_loss(training)
    constant, no_better = constant_level(loss), no_better_share(training.run)
    if loss.not_interpretable or len(loss.values) < 100 or math.isnan(constant) or not math.isfinite(loss.last):
        return False
    half = len(loss.values) // 2
    window = max(5, len(loss.values) // 10)
    middle = loss.values[half : half + window].mean()
    stuck = middle - loss.last <= NO_PROGRESS * loss.first
    return bool(loss.last >= no_better * constant and stuck and not other_scale(loss))


def gained_since_half(loss: TrainingLoss) -> float:
    """The fall of the loss over the last half of the run, as a share of the first loss; NaN unless that is positive."""
    half, width = len(loss.values) // 2, max(5, len(loss.values) // 10)
    middle = float(loss.values[half : half + width].mean())
    return (middle - loss.last) / loss.first if loss.first > 0 else math.nan


def other_scale(loss: TrainingLoss) -> bool:
    """Whether a loss far above the constant predictor's falls all the same: it is measured on another scale."""
    return bool(loss.last > 1.3 * constant_level(loss) and loss.last < 0.7 * loss.first)


def nearly_done(loss: TrainingLoss, left: float) -> bool:
    """Whether at most this share of the first loss is left: then what a model is short of has cost it nothing."""
    return not loss.not_interpretable and loss.last >= 0 and loss.improvement >= 1 - left


@signal
def epochs(training: Training) -> float:
    """Passes over the data that this optimizer's steps made; NaN when no DataLoader told their length."""
    batches = training.run.meta.data.batches_per_epoch
    known = 0 < batches < MOST_BATCHES
    return float(training.steps["micro_steps"].sum()) / batches if known else math.nan


def loss_rebound(loss: TrainingLoss) -> LossRebound | None:
    """How far the last tenth of the run lies above the lowest one; None where the loss was never below its first."""
    first, tenths = loss.first, numpy.array_split(loss.values, TENTHS)
    middles = numpy.asarray([median(tenth) for tenth in tenths])
    best = int(numpy.argmin(middles[:-1]))
    gained = first - middles[best]
    if not first > 0 or not gained > 0:
        return None
    noise = math.hypot(*(tenth.std() / math.sqrt(len(tenth)) for tenth in (tenths[best], tenths[-1])))
    rise = float(tenths[-1].mean() - tenths[best].mean())
    return LossRebound(
        index=sum(len(tenth) for tenth in tenths[:best]),
        until=sum(len(tenth) for tenth in tenths[: best + 1]),
        best=float(middles[best]),
        last=float(middles[-1]),
        gained=gained / first,
        lost=float(middles[-1] - middles[best]) / gained,
        errors=rise / noise if noise > 0 else math.copysign(math.inf, rise),
    )


LEARNED = 0.05  # of the first loss: less is what batches differ by


def learned_nothing(training: Training) -> bool:
    """Whether a loss whose shape means something ends where it began, or no better than a constant predictor's."""
    loss = training_loss(training)
    if loss.not_interpretable or len(loss.values) < 100:
        return False
    return not_learning(training) or loss.improvement < LEARNED
