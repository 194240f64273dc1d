"""What the validation loss is compared with, and what early stopping would have made of it."""

import math

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.validation import training_evaluation, validation
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import Floats, median
from gradaudit.signals.smoothing import smooth
from gradaudit.signals.thresholds import threshold

LEAST_EVALUATIONS = 5
FEWEST = 3  # where what they show is beyond doubt


class TrainingCurve(msgspec.Struct, frozen=True, eq=False):
    """The training loss to compare with: steps [points], values [points]."""

    name: str
    steps: Floats
    values: Floats
    comparable: bool  # on the same scale as the validation loss: evaluation mode, or running without dropout
    noisy: bool = False  # the same loss, but for the noise of dropout or batch normalisation in training mode
    running: bool = False  # one value a step, as noisy as batches are

    def at(self, steps: Floats) -> Floats:
        """The loss at these steps, as charts draw it: smoothed when it is the running one, straight between points.

        NaN past the last point when the loss had become NaN or infinite by then.
        """
        line = smooth(self.values) if self.running else self.values
        known = numpy.isfinite(line)
        if not known.any():
            return numpy.full(len(steps), numpy.nan)
        after = line[known][-1] if known[-1] else math.nan
        return numpy.asarray(numpy.interp(steps, self.steps[known], line[known], right=after), dtype=numpy.float64)


def comparison(run: Run, losses: list[TrainingLoss]) -> TrainingCurve:
    """The training loss measured in evaluation mode where there is one, else the running one."""
    evaluated = training_evaluation(run)
    held_out = validation(run)
    least = LEAST_EVALUATIONS if held_out is None else min(LEAST_EVALUATIONS, max(FEWEST, len(held_out.losses)))
    if evaluated is not None and numpy.isfinite(evaluated.losses).sum() >= least:
        return TrainingCurve("training loss (evaluation mode)", evaluated.steps.astype(float), evaluated.losses, True)
    longest = max(losses, key=lambda loss: int(numpy.isfinite(loss.values).sum()))
    dropout = any(module.dropout for module in run.meta.modules)
    smoothed = longest.facts is not None and longest.facts.label_smoothing > 0
    known = longest.facts is not None and not longest.not_interpretable and bool(run.meta.modules)
    same = known and not smoothed and _same_loss(longest)
    noisy = same and (dropout or any(module.batch_norm for module in run.meta.modules))
    steps = longest.steps.astype(float)
    return TrainingCurve("training loss (running)", steps, longest.values, same and not dropout, noisy, running=True)


def _same_loss(loss: TrainingLoss) -> bool:
    run = loss.training.run
    functions = {facts.function for facts in run.meta.losses if facts.id in set(run.evaluations["loss"])}
    return loss.facts is not None and functions == {loss.facts.function}


def fall_since(train: TrainingCurve, steps: Floats, best: int) -> float:
    """By what share the training loss fell between the best and the last evaluation; NaN when not known."""
    before, after = train.at(steps[[best, -1]])
    return float((before - after) / abs(before)) if before else math.nan


class Rise(msgspec.Struct, frozen=True):
    """How the last three validation losses compare with the best one."""

    best: int  # the place of the best evaluation
    final: float  # median of the last three; of fewer than five evaluations the last one
    risen: float  # above the median of the best and its neighbours; of so few above the best
    relative: float  # over what was gained until the best
    jump: float  # the usual one from one evaluation to the next
    dropped: float  # by what share the training loss fell since the best
    later: int  # evaluations after the best
    clear: bool  # a rise that is no noise, while the training loss falls
    steady: float = math.nan  # of few evaluations: by what share of the best the lowest one after it is above it

    @property
    def of_few(self) -> bool:
        """Whether it is clear of so few evaluations that nothing tells how they scatter."""
        return math.isfinite(self.steady)

    @property
    def gained(self) -> float:
        """What was gained until the best: 0 where nothing was, NaN where nothing rose since."""
        return self.risen / self.relative if self.relative else math.nan


class RiseLimits(msgspec.Struct, frozen=True):
    """From where on a rise of the validation loss is clear: thresholds of `overfitting` that others go by, too."""

    rise: float = 0.10  # healthy runs rise by up to 0.09 of their improvement
    share: float = 0.03  # a recommender rose by 0.18 of a tiny improvement, and by 1 % of the best loss
    fell: float = 0.01  # else both losses rise, and that is no overfitting
    scatter: float = 1.5  # times the usual jump; white noise alone (simulated) stays below it in 19 of 20 runs
    fell_far: float = 0.5  # a training loss that halves again is memorising, however noisy the evaluations
    later: float = 3  # evaluations; the median of three ignores one bad one
    few: float = 0.05  # of the best loss; more than `share`, since three evaluations tell nothing of their noise


def rise_limits(run: Run) -> RiseLimits:
    """Those of `overfitting` in this analysis."""
    defaults = msgspec.structs.asdict(RiseLimits())
    return RiseLimits(**{name: threshold(run, f"overfitting.{name}", value) for name, value in defaults.items()})


def held_out_rise(values: Floats, train: TrainingCurve, steps: Floats, limits: RiseLimits) -> Rise:
    """The rise of the validation losses (finite ones) at these steps."""
    best = int(numpy.argmin(values))
    if len(values) < LEAST_EVALUATIONS:
        return _rise_of_few(values, train, steps, limits)
    final = median(values[-3:])
    gained = float(values[0] - values[best])
    # One lucky evaluation is not what the model had reached: the rise is measured from it and its neighbours.
    risen = final - median(values[max(0, best - 1) : best + 2])
    dropped = fall_since(train, steps, best)
    relative = risen / gained if gained > 0 else math.inf if risen > 0 else 0.0
    # Second differences: a steady rise has none, so they measure the noise of an evaluation alone.
    jump = median(numpy.abs(numpy.diff(values, 2)))
    no_noise = risen > limits.scatter * jump or dropped > limits.fell_far
    large = relative > limits.rise and risen > limits.share * abs(values[best]) and no_noise
    after = len(values) - 1 - best
    clear = bool(after >= limits.later and large and dropped > limits.fell)
    return Rise(best, final, risen, relative, jump, dropped, after, clear)


def _rise_of_few(values: Floats, train: TrainingCurve, steps: Floats, limits: RiseLimits) -> Rise:
    """The rise of three or four validation losses: clear where each after the best is well above it, the last most.

    And the training loss is less than half, then, of what it was or of what the validation loss ever was.
    """
    best = int(numpy.argmin(values))
    least, after, final = float(values[best]), values[best + 1 :], float(values[-1])
    dropped = fall_since(train, steps, best)
    known = train.values[numpy.isfinite(train.values)]
    start = max(float(values[0]), float(known[0]) if train.comparable and len(known) else -math.inf)
    risen = final - least
    relative = risen / (start - least) if start > least else math.inf if risen > 0 else 0.0
    end = (1 - limits.fell_far) * least
    far = dropped > limits.fell_far or (train.comparable and float(train.at(steps[-1:])[0]) < end)
    steady = float(after.min() - least) / abs(least) if least and len(after) >= 2 else math.nan
    falls = dropped > limits.fell and far
    clear = bool(steady > limits.few and final >= values.max() and relative > limits.rise and falls)
    jump = median(numpy.abs(numpy.diff(values, 2)))
    return Rise(best, final, risen, relative, jump, dropped, len(after), clear, steady)


def distance_at_end(train: TrainingCurve, steps: Floats, final: float) -> float:
    """How far `final` lies above the training loss at the last three evaluations; NaN if not comparable."""
    return final - median(train.at(steps[-3:])) if train.comparable else math.nan


def early_stop(values: Floats, patience: int) -> int:
    """The evaluation at which early stopping ends: the first with `patience` evaluations since the best so far."""
    best = 0
    for index, value in enumerate(values):
        if value < values[best]:
            best = index
        if index - best >= patience:
            return index
    return len(values) - 1


def shortest_patience(values: Floats, least: int) -> int:
    """The smallest patience, at least `least`, with which early stopping still reaches the best evaluation."""
    best = int(numpy.argmin(values))
    patience = least
    while patience < len(values) and early_stop(values, patience) < best:
        patience += 1
    return patience


class EarlyStop(msgspec.Struct, frozen=True):
    """What early stopping would have made of a run."""

    patience: int  # evaluations
    step: int  # global step at which it ends
    saved: float  # of the run's steps; a fraction


def stopped_early(values: Floats, steps: Floats, last: int, least: int) -> EarlyStop:
    """Early stopping with the smallest patience, at least `least`, that still reaches the best of these validation
    losses, evaluated at these steps of a run whose last step is `last`."""
    patience = shortest_patience(values, least)
    stop = int(max(steps[early_stop(values, patience)], 0))
    return EarlyStop(patience, stop, saved=1 - (stop + 1) / (last + 1))
