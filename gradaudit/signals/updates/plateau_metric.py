"""Whether a metric that a plateau scheduler was given improves in the other direction than the scheduler waits for.

A loss is told by its value: it is the mean of an evaluation, or of the training since the last call. An accuracy is
told by its values being whole counts out of so many examples, or by a loss of the same evaluations that falls as it
rises. Of a metric that none of these tells, nothing is known.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import SchedulerFacts
from gradaudit.signals.order_statistics import Floats, Integers
from gradaudit.signals.updates.scheduler_plan import peak_course
from gradaudit.training import Training

_LEAST = 4  # calls, and different values: fewer are whole counts of something by chance
_EQUAL = 1e-3  # a mean over batches, the last of which is smaller
_MOSTLY = 0.9  # of the calls, or of the pairs of calls
_EARLY = 10  # a tenth of the calls: the best so far, in the scheduler's sense, is among the first
_MOST_EXAMPLES = 5000  # tried where no DataLoader tells how many there are
_WHOLE, _WHOLE_OF_KNOWN = 1e-3, 1e-2  # how far a count is from a whole number; single precision of 60,000 examples


@dataclass(frozen=True)
class MetricCourse:
    """A metric that got better all the while, in the direction that its scheduler takes for worse."""

    told: str  # counts: whole counts of examples; losses: an evaluation loss goes the other, or the same, way; loss
    mode: str  # of the scheduler: min, max
    calls: int
    first: float
    last: float  # the median of the last third
    examples: int  # of which they are counts; 0 where they are none
    errors: float  # of counts: the change, in standard errors of the difference of two accuracies; NaN of others
    agreement: float  # with the evaluation loss, over pairs of calls; NaN where there is none
    reached: float  # the learning rate at the end over that at the first call


def metric_course(run: Run, facts: SchedulerFacts, training: Training) -> MetricCourse | None:
    """The course of a metric that improves in the wrong direction; None of another, and where nothing tells."""
    known = [(int(steps), value) for steps, value in facts.metrics if steps is not None and value is not None]
    steps = numpy.array([step for step, _ in known], dtype=numpy.int64)
    values = numpy.array([value for _, value in known], dtype=float)
    if len(values) < _LEAST or facts.mode not in ("min", "max") or not numpy.isfinite(values).all():
        return None
    towards = values if facts.mode == "max" else -values
    first, last = float(values[0]), float(numpy.median(values[-max(1, len(values) // 3) :]))
    early = int(numpy.argmax(towards)) <= len(values) // _EARLY
    if not early or not towards[0] > (last if facts.mode == "max" else -last):
        return None
    rate = _reached(training, steps)
    if not rate < 1:
        return None
    losses = list(_losses(run, training, steps))
    is_loss = any(_same(values, one) for one in losses)
    compared = [each for one in losses[:-1] if not math.isnan(each := _agreement(values, one))]
    agreement = max(compared, key=abs, default=math.nan)
    found = MetricCourse("loss", facts.mode, len(values), first, last, 0, math.nan, agreement, rate)
    if is_loss:
        return found if facts.mode == "max" else None
    if facts.mode == "max":
        return _told_by_losses(found, agreement) if agreement > 0 else None
    return _of_counts(run, values, found, losses) or _told_by_losses(found, -agreement)


def _told_by_losses(found: MetricCourse, agreement: float) -> MetricCourse | None:
    bounded = found.mode == "max" or 0 <= found.first < found.last <= 100
    if not bounded or not agreement >= _MOSTLY or found.calls <= _LEAST:
        return None
    return _with(found, told="losses")


def _of_counts(run: Run, values: Floats, found: MetricCourse, losses: list[Floats]) -> MetricCourse | None:
    examples = counted(values, [one.examples for one in run.meta.loaders if one.loader and one.examples > 0])
    training = losses[-1]
    part = max(1, len(training) // 3)
    with numpy.errstate(invalid="ignore"):
        learned = bool(numpy.nanmean(training[-part:]) < numpy.nanmean(training[:part])) if len(training) > 1 else False
    # An error rate rises with the loss of its evaluation, and without training.
    if not examples or not learned or found.agreement > 0:
        return None
    whole = 100.0 if values.max() > 1 else 1.0
    errors = (found.last - found.first) / whole / math.sqrt(0.5 / examples)
    return _with(found, told="counts", examples=examples, errors=errors)


def _with(found: MetricCourse, told: str, examples: int = 0, errors: float = math.nan) -> MetricCourse:
    return MetricCourse(
        told, found.mode, found.calls, found.first, found.last, examples, errors, found.agreement, found.reached
    )


def counted(values: Floats, known: list[int]) -> int:
    """Of how many examples all values are whole counts, as shares or in percent; 0 where they are not.

    A loss that was rounded to some digits is a whole count out of 1,000 or 10,000: such a number has to be `known`.
    """
    if values.min() < 0 or values.max() > 100 or len(numpy.unique(values)) < _LEAST:
        return 0
    shares = values / 100 if values.max() > 1 else values
    for examples in sorted(known):
        if _whole(shares, examples, _WHOLE_OF_KNOWN):
            return examples
    for examples in range(_LEAST, _MOST_EXAMPLES):
        if _whole(shares, examples, _WHOLE):
            return 0 if _decimal(examples) else examples
    return 0


def _whole(shares: Floats, examples: int, near: float) -> bool:
    counts = shares * examples
    return bool((numpy.abs(counts - numpy.round(counts)) <= near).all())


def _decimal(examples: int) -> bool:
    """Whether every decimal fraction of a few digits may be a share of so many."""
    for prime in (2, 5):
        while examples % prime == 0:
            examples //= prime
    return examples == 1


def _reached(training: Training, steps: Integers) -> float:
    course = peak_course(training)
    if not len(course):
        return math.nan
    before = float(course[min(max(0, int(steps[0]) - 1), len(course) - 1)])
    return float(course[-1]) / before if before > 0 else math.nan


def _losses(run: Run, training: Training, steps: Integers) -> Iterator[Floats]:
    """[calls]: the losses of each split evaluated right before each call; at last those of training in between."""
    at = training.steps["global_step"].to_numpy()
    positions = numpy.clip(steps, 1, len(at)) - 1
    for _, frame in run.evaluations.groupby("split", sort=True):
        by_step = frame.groupby("after_step")["mean_loss"].last()
        yield by_step.reindex(at[positions]).to_numpy(dtype=float)
    column = training.steps["mean_loss"]
    column = training.steps["objective"] if column.isna().all() else column
    sums = numpy.concatenate([[0.0], numpy.cumsum(numpy.nan_to_num(column.to_numpy(dtype=float)))])
    ends = numpy.clip(steps, 0, len(at))
    begins = numpy.concatenate([[0], ends[:-1]])
    with numpy.errstate(invalid="ignore", divide="ignore"):
        yield (sums[ends] - sums[begins]) / (ends - begins)


def _same(values: Floats, losses: Floats) -> bool:
    """Whether the metric is this loss."""
    known = numpy.isfinite(losses)
    near = numpy.abs(values - losses) <= _EQUAL * numpy.abs(losses)
    return int(known.sum()) >= _LEAST and float(near[known].mean()) >= _MOSTLY


def _agreement(values: Floats, losses: Floats) -> float:
    """From -1 to 1: over pairs of calls in which both change, how often in one direction; NaN of less than six."""
    known = numpy.isfinite(losses)
    one, other = values[known], losses[known]
    turns = numpy.sign(one[:, None] - one[None]) * numpy.sign(other[:, None] - other[None])
    pairs = turns[numpy.triu_indices(len(one), 1)]
    pairs = pairs[pairs != 0]
    return float(pairs.mean()) if len(pairs) >= 6 else math.nan
