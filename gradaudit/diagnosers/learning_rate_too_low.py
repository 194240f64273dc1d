"""The learning rate is too low: the weights hardly change, and the loss hardly falls.

## What it looks for

The update-to-weight ratio of every weight layer and embedding table at its 95th percentile over the steps, and of
these the largest: the fastest part of the model at its fastest steps. Below `slow`, a loss that improved by less than
`still` is critical and by less than `hardly` is a warning. Below `slower_than_usual`, over at least 100 steps, a loss
that improved by less than `little` is a warning. So is, below a ratio of 3.5e-4, one that improved by less than
`scratch` where nothing was trained before: it started at `pretrained` times that of a uniform prediction (in
regression, of a constant) or above, or most parameters start as torch.nn sets them; it is a note while the learning
rate still rises. Where neither holds and the loss starts lower, the model has less to learn, and it is a note. The loss
of the start is the median of up to twenty steps.

## Why it matters

At a ratio of 1e-4 a weight needs ten thousand steps in one direction to change by its own size. The run costs the
same as a good one and ends where it began.

## What to try

Raise the learning rate by factors of ten until the loss falls, and keep the last one before it becomes unstable. Check
that the clip threshold is not far below the gradient norm and that the schedule has left its warmup.

## When it is wrong

Fine-tuning with a small learning rate is meant to move slowly (healthy runs go down to 3.5e-4). A learning rate less
than 30 times too low cannot be distinguished from a run that is too short. Pure bfloat16 weights lose small updates
altogether, and that looks the same. Weights that hardly change in a run in which one step changed half of the median
weight layer are left to `learning_rate_too_high`: that step broke the layers that do not change afterwards.
"""

import math
from collections.abc import Iterator
from typing import Literal

import msgspec

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import fastest_chart, loss_chart
from gradaudit.evidence.words.improvement import change_in_words, course_in_words
from gradaudit.evidence.words.optimizers import label_of, rate_in_words
from gradaudit.evidence.words.raised_rate import raise_rate
from gradaudit.evidence.words.run_numbers import update_size_at_end
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, number
from gradaudit.findings import Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span, ratio
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.layers.untrained import MOST, initial_share
from gradaudit.signals.loss.improvement import Improvement, improvement
from gradaudit.signals.loss.progress import divergence, untrained_level
from gradaudit.signals.loss.training_loss import TrainingLoss, adversarial, course
from gradaudit.signals.order_statistics import largest
from gradaudit.signals.updates.fastest_tensor import FastestTensor, fastest_tensor
from gradaudit.signals.updates.learning_rates import optimizer_class, still_rising
from gradaudit.signals.updates.raised_rate import RaisedRate, raised_rate
from gradaudit.signals.updates.ratios import judged_tensors, median_update_ratio
from gradaudit.training import Training

_LONG = 100  # steps, at least, of a run whose small gain is no matter of its length
_FROM_SCRATCH = 3.5e-4  # ratio; learning rates 100 times too small stay below it, and fine-tuning with a new head above
_REPLACED = 0.5  # of the weights in one step: `learning_rate_too_high` reports it from there on

Gain = Literal["still", "hardly", "little", "scratch"]


class Limits(msgspec.Struct, frozen=True):
    """From where on updates are too small for a loss that hardly falls."""

    slow: float = 2e-4  # faulty runs stay below 5e-5, healthy ones above 3.5e-4
    still: float = 0.05  # a learning rate 1,000 times too small leaves 94 % or more of what could be gained
    hardly: float = 0.20  # of the first loss; separates learning rates 100 times too small from short runs
    slower_than_usual: float = 1e-3  # healthy runs from scratch stay above 2.9e-3
    little: float = 0.10  # stricter than `hardly`, because healthy fine-tuning is this slow
    scratch: float = 0.30  # a learning rate 100 times too small leaves three quarters, at a ratio below 3.5e-4
    pretrained: float = 0.85  # of ln N; models that start below it have been trained before


class Progress(Judged, frozen=True):
    """How fast the fastest tensor changes, and what the loss does meanwhile."""

    fastest: FastestTensor
    loss: Improvement


class TooSlow(Judged, frozen=True):
    """The fastest tensor hardly changes, and the loss hardly falls."""

    progress: Progress
    gain: Gain  # the threshold that the improvement of the loss is below
    limit: float  # what the update-to-weight ratio is below
    steps: int  # of the run
    uniform: float  # the loss of a uniform prediction, in regression of a constant; NaN where it is not known
    regression: bool
    initial: float  # share of the parameters that start as torch.nn sets them
    trained_before: bool  # it starts below that loss, with other parameters: slow fine-tuning may be meant
    warming_up: bool  # the learning rate still rises at the last step
    rate_zero: bool  # at every step
    rate: RaisedRate
    span: Span

    @property
    def is_critical(self) -> bool:
        """Whether nothing moves, and nobody may mean that."""
        return self.gain == "still" and not self.trained_before

    @property
    def severity(self) -> Severity:
        """A note of what may be meant, or still warms up."""
        if self.is_critical:
            return Severity.CRITICAL
        return Severity.NOTE if self.trained_before or self.warming_up else Severity.WARNING


class Moves(Judged, frozen=True):
    """The weights change fast enough, or the loss falls."""

    progress: Progress


class WeightsReplaced(Judged, frozen=True):
    """They hardly change after a step that changed half of the median weight layer, or more: that broke the layers."""

    progress: Progress
    ratio: float  # of that update to the weights


class NotFinite(Judged, frozen=True):
    """The run holds NaN or infinity, and does not recover."""

    since: int  # global step


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("tensors.update_norm", "tensors.weight_norm"),
    minimum_steps=50,
    explains=("no_learning", "no_signal", "dead_embedding"),
)
def learning_rate_too_low(
    training: Training, limits: Limits
) -> Iterator[TooSlow | Moves | WeightsReplaced | NotFinite | NotApplicable | Skipped]:
    """Judge the 95th percentile of the largest update-to-weight ratio together with the improvement of the loss."""
    loss, onset = course(training), non_finite_onset(training)
    if not judged_tensors(training).any():
        yield NotApplicable(reason="the model has no trained weight matrix that starts away from zero")
    elif adversarial(training.run) and loss.not_interpretable:
        yield NotApplicable(reason=unclear_in_words(loss.not_interpretable))
    elif (fastest := fastest_tensor(training)) is None:
        yield Skipped(reason="no finite update of the weights was recorded", enable="record from the first step on")
    elif onset is not None and not onset.recovered:
        yield NotFinite(onset.step)
    else:
        yield _judged(loss, Progress(fastest, improvement(loss)), limits)


def _judged(loss: TrainingLoss, progress: Progress, limits: Limits) -> TooSlow | Moves | WeightsReplaced:
    training, start, share = loss.training, progress.loss.start, progress.loss.share
    uniform, initial = untrained_level(loss), initial_share(training)
    # A term of several, or one whose target moves, may rise while the model learns.
    rises = bool(loss.shapeless) and share < -limits.still
    broke = non_finite_onset(training) is not None or divergence(training) is not None
    new = start >= limits.pretrained * uniform or initial >= MOST
    gain = _gain(progress, len(loss.values), new, limits)
    if math.isnan(share) or rises or broke or gain is None:
        return Moves(progress)
    replaced = largest(median_update_ratio(training))
    if replaced >= _REPLACED:
        # Layers that do not change after such a step were broken by it: dead units, or vanished gradients.
        return WeightsReplaced(progress, replaced)
    rate = raised_rate(training, progress.fastest.ratio)
    limit = {"still": limits.slow, "hardly": limits.slow, "little": limits.slower_than_usual}
    return TooSlow(
        progress=progress,
        gain=gain,
        limit=limit.get(gain, min(_FROM_SCRATCH, limits.slower_than_usual)),
        steps=len(loss.values),
        uniform=uniform,
        regression=loss.kind == "regression",
        initial=initial,
        trained_before=start < limits.pretrained * uniform and not initial >= MOST,
        # The first part of a longer run may well end in its warmup.
        warming_up=gain == "scratch" and still_rising(training),
        rate_zero=bool(rate.rates.size) and not rate.rates.any(),
        rate=rate,
        span=Span(first=int(loss.steps[0]), last=int(loss.steps[-1])),
    )


def _gain(progress: Progress, steps: int, new: bool, limits: Limits) -> Gain | None:
    """The threshold of the improvement that speaks for a learning rate too low; None where none does."""
    speed, share = progress.fastest.ratio, progress.loss.share
    if speed < limits.slow and share < limits.still:
        return "still"
    if speed < limits.slow and share < limits.hardly:
        return "hardly"
    if steps < _LONG:
        return None
    if speed < limits.slower_than_usual and share < limits.little:
        return "little"
    crawls = speed < min(_FROM_SCRATCH, limits.slower_than_usual) and share < limits.scratch
    return "scratch" if crawls and new else None


@learning_rate_too_low.tell
def _not_finite(found: NotFinite) -> Skipped:
    return Skipped(
        reason=f"from step {count(found.since)} on the run holds NaN or infinity, so its updates say nothing",
        enable="fix what non_finite reports",
    )


@learning_rate_too_low.tell
def _replaced(found: WeightsReplaced, training: Training) -> NotApplicable:
    return NotApplicable(
        reason=f"{_measured(found.progress)}{label_of(training)}, and one step changed the median weight layer by "
        f"{number(found.ratio)} times its size: see learning_rate_too_high"
    )


@learning_rate_too_low.tell
def _moves(found: Moves) -> Clean:
    return Clean(measured=_measured(found.progress))


def _measured(progress: Progress) -> str:
    return (
        f"the fastest weight tensor changes by {number(progress.fastest.ratio, 2)} of its size per step (95th "
        f"percentile of the steps), and {course_in_words(progress.loss)}"
    )


@learning_rate_too_low.tell
def _finding(found: TooSlow, training: Training, limits: Limits) -> Finding:
    fastest, change = found.progress.fastest, change_in_words(found.progress.loss)
    return Finding(
        severity=found.severity,
        confidence=Confidence.HIGH if found.is_critical else Confidence.MEDIUM,
        title=_title(found),
        headline=f"The weights change by {number(fastest.ratio)} of their size per step, and the loss {change}"
        if fastest.ratio > 0
        else f"No weight changes in {count(found.steps)} steps, and the loss {change}",
        explanation=_explanation(found, training),
        span=found.span,
        tensors=[fastest.name],
        evidence=[fastest_chart(fastest, found.limit), loss_chart(training, "The loss over the same steps.", [])],
        actions=raise_rate(training, found.rate),
        measures=_measures(found, limits),
    )


def _title(found: TooSlow) -> str:
    if not found.progress.fastest.ratio > 0:
        return "Learning rate zero" if found.rate_zero else "Weights do not change"
    if found.trained_before:
        return "Fine-tuning with tiny updates"
    return "Warmup not finished" if found.warming_up else "Learning rate too low"


def _explanation(found: TooSlow, training: Training) -> str:
    fastest, loss = found.progress.fastest, found.progress.loss
    said = (
        f"Even {fastest.name}, the fastest tensor, changes by {number(fastest.ratio)} of its size per step (95th "
        f"percentile of the steps), with {optimizer_class(training)} at a learning rate of "
        f"{rate_in_words(found.rate.rates)}. {course_in_words(loss).capitalize()}: it {change_in_words(loss)}."
    )
    if size := update_size_at_end(training):
        said += f" Over the last half of the run updates are {size}."
    if found.trained_before:
        said += " At the start the loss is low for an untrained model, so slow fine-tuning may be meant."
    elif found.warming_up:
        said += " The learning rate still rises at the last step, as in a warmup that is not over."
    return said


def _measures(found: TooSlow, limits: Limits) -> list[Measure]:
    least = {"still": limits.still, "hardly": limits.hardly, "little": limits.little, "scratch": limits.scratch}
    slow = "slow" if found.gain in ("still", "hardly") else "slower_than_usual"
    start = ("loss at the start", found.progress.loss.start)
    uniform = ("that of a constant" if found.regression else "that of a uniform prediction", found.uniform)
    known, new = not math.isnan(found.uniform), found.initial >= MOST
    return [
        Measure(quantity="largest update-to-weight ratio (95th percentile)", value=found.progress.fastest.ratio,
                comparison="<", threshold=found.limit, option=slow),
        Measure(quantity="improvement of the loss", value=found.progress.loss.share, comparison="<",
                threshold=least[found.gain], unit="fraction", option=found.gain),
        *([ratio(start, uniform, "<", limits.pretrained, option="pretrained", decides="note")] if known else []),
        *([Measure(quantity="parameters that start as torch.nn sets them", value=found.initial, comparison=">=",
                   threshold=MOST, unit="fraction", decides="warning")] if new else []),
    ]  # fmt: skip
