"""The loss diverges: it rises above its start and does not recover.

## What it looks for

The running median of the training loss, over five steps or as many as cover 32 targets. Above `doubled` times its
start, or times the loss of the best constant predictor where that is larger, it has diverged. So it has when the last
tenth of the run lies above `worse` times the start by more than the noise. It is critical, or a warning when the loss
never rises above what a constant predictor scores. A loss that ends below nine tenths of its start has recovered, and
is left to `loss_spike` and `learning_rate_too_high`. Losses whose level means nothing (adversarial, contrastive, policy
gradients, targets that move, one term of several, unknown ones) are not judged. The first loss is that of one batch:
the last ones must lie above it by more than batches differ, too.

## Why it matters

What had been learned is lost. Where the loss stays above its start the model is worse than before training; where it
only returns to it, the steps were for nothing. Further training starts no better than from random weights.

## What to try

Go back to the last checkpoint before the rise with a lower learning rate. If the rise comes early, warm up; if it comes
at once, look at the scale of inputs, targets and initial weights, and whether the optimizer maximizes; if it comes
late, look at what changed there: a schedule, a phase, a part of the data.

## When it is wrong

A run that continues on harder data, or whose loss gains a term on the way, rises without diverging. Healthy runs stay
below 1.3 times their start.
"""

import math
from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.chart_data import AnyEvidence, Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart, update_chart
from gradaudit.evidence.words.ascent import ascent_sentence, descend
from gradaudit.evidence.words.clipping import clip_norm
from gradaudit.evidence.words.close_look import look_closely
from gradaudit.evidence.words.optimizers import line_with_rates, rate_in_words
from gradaudit.evidence.words.schedules import hold
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, number
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    ratio,
)
from gradaudit.signals.loss.progress import constant_level, smoothing_window, start_level
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, largest, running_median
from gradaudit.signals.updates.increasing_schedule import IncreasingSchedule, increasing_schedule
from gradaudit.signals.updates.learning_rates import maximizes
from gradaudit.signals.updates.ratios import median_update_ratio
from gradaudit.signals.updates.stable_learning_rate import StableLearningRate, stable_learning_rate
from gradaudit.training import Training

_LEAD_UP = 20  # steps before the loss leaves at which a step that is too large counts as its cause
_GREW = 3.0  # times: a learning rate that has risen by more since the first step is told


class Limits(msgspec.Struct, frozen=True):
    """From where on a loss has diverged."""

    doubled: float = 2.0  # times the start; healthy runs stay below 1.3
    worse: float = 1.15  # last over first loss; healthy runs stay below 1


class Divergence(Judged, frozen=True):
    """The loss rises above its start and does not come back below it. Losses are as they are."""

    step: int  # global, from which on it is above
    start: float
    lowest: float  # running median, up to that step
    highest: float  # of a single step
    last: float  # mean of the last tenth of the run; may be NaN or infinite
    tail: int  # steps in that tenth
    window: int  # steps of the running median
    risen_to: float  # the largest running median
    constant: float  # the loss of the best constant prediction; NaN where it is not known
    level: float  # what `risen_to` is held against: the start or the constant prediction, the larger one
    above_start: bool  # it is the start
    returned: bool  # the loss ends at its start, or below
    below_constant: bool  # the loss is never above that of a constant prediction: no harm is certain
    maximizes: bool  # the steps go up the gradient
    update_ratios: bool  # some were recorded
    rates: Floats  # [groups] at `step`
    first_rates: Floats  # [groups]
    rates_grew: bool
    rise: IncreasingSchedule | None  # the schedule that drove the loss up
    too_large: StableLearningRate | None  # the first update that was too large, where it came before the rise
    lower: Floats  # [groups] learning rates to try
    span: Span


class Held(Judged, frozen=True):
    """The loss does not leave its start for good."""

    start: float
    last: float  # mean of the last tenth of the run
    highest: float  # of a single step


class NoStart(Judged, frozen=True):
    """The first loss is no number, or there are too few steps."""

    start: float
    steps: int


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("steps",),
    minimum_steps=10,
    explains=("non_finite", "no_learning", "loss_spike"),
)
def divergence(training: Training, limits: Limits) -> Iterator[Divergence | Held | NoStart | NotApplicable]:
    """Compare the running median of the loss with its start."""
    loss = training_loss(training)
    start = start_level(loss)
    if loss.shapeless:
        yield NotApplicable(reason=unclear_in_words(loss.shapeless))
    elif not math.isfinite(start) or len(loss.values) < 10:
        yield NoStart(start, len(loss.values))
    elif (at := diverges(training)) is None:
        yield Held(start, loss.last, largest(loss.values))
    else:
        yield _divergence(loss, start, at)


def _divergence(loss: TrainingLoss, start: float, at: int) -> Divergence:
    training, constant = loss.training, constant_level(loss)
    level = start if math.isnan(constant) else max(start, constant)
    highest, window = largest(loss.values), smoothing_window(loss)
    smooth = running_median(loss.values, window)
    row = int(numpy.argmax(loss.steps >= at))
    rates, first_rates = training.learning_rates[row], training.learning_rates[0]
    grew = numpy.isfinite(rates) & numpy.isfinite(first_rates) & (rates > _GREW * first_rates)
    stable = stable_learning_rate(training)
    too_large = stable if stable is not None and stable.step <= at + _LEAD_UP else None
    return Divergence(
        step=at,
        start=start,
        lowest=float(numpy.nanmin(smooth[: row + 1])),
        highest=highest,
        last=loss.last,
        tail=max(5, len(loss.values) // 10),
        window=window,
        risen_to=largest(smooth[3:]),
        constant=constant,
        level=level,
        above_start=level == start,
        returned=math.isfinite(loss.last) and loss.last <= start,
        below_constant=not math.isnan(constant) and highest < constant,
        maximizes=maximizes(training),
        update_ratios=bool(numpy.isfinite(median_update_ratio(training)).any()),
        rates=rates,
        first_rates=first_rates,
        rates_grew=bool(grew.any()),
        rise=increasing_schedule(training),
        too_large=too_large,
        lower=rates / 10 if too_large is None else too_large.lower,
        span=Span(first=at, last=int(loss.steps[-1])),
    )


@divergence.tell
def _no_start(found: NoStart) -> Skipped:
    return Skipped(
        reason=f"the first loss is {number(found.start)}, of {count(found.steps)} steps",
        enable="fix what non_finite reports, or train for 10 steps",
    )


@divergence.tell
def _held(found: Held) -> Clean:
    return Clean(
        measured=f"the loss starts at {number(found.start)}, ends at {number(found.last)} (mean of the last 10 %) and "
        f"is never above {number(found.highest)}"
    )


@divergence.tell
def _finding(found: Divergence, training: Training, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.WARNING if found.below_constant else Severity.CRITICAL,
        confidence=Confidence.CERTAIN
        if found.maximizes
        else (Confidence.MEDIUM if found.below_constant else Confidence.HIGH),
        title="Gradient ascent instead of descent"
        if found.maximizes
        else f"{'Rising loss' if found.below_constant else 'Divergence'} from step {count(found.step)}",
        headline=_headline(found),
        explanation=_explanation(found, training),
        span=found.span,
        evidence=_charts(found, training),
        actions=[
            *([descend(training, found.rates)] if found.maximizes else []),
            _slower(found, training),
            clip_norm("Clip the gradient norm before each step"),
            Action(
                text=f"Look at the batches just before step {count(found.step)}, and at what the schedule does there"
            ),
            *([] if found.maximizes else [look_closely(found.step)]),
        ],
        measures=_measures(found, limits),
    )


def _ending(found: Divergence) -> str:
    return number(found.last) if math.isfinite(found.last) else "NaN or infinity"


def _headline(found: Divergence) -> str:
    step, risen, ending = count(found.step), f"from {number(found.lowest)} to {number(found.highest)}", _ending(found)
    if found.returned:
        return f"The loss rises {risen} at step {step} and only returns to its start, {ending}"
    if found.below_constant:
        return f"From step {step} the loss rises {risen}, and it ends at {ending}"
    return f"The loss diverges at step {step}: it rises {risen} and ends at {ending}"


def _explanation(found: Divergence, training: Training) -> str:
    sentences = [
        f"The loss starts at {number(found.start)} and is {number(found.lowest)} at its lowest before step "
        f"{count(found.step)} (median of {count(found.window)} steps). The highest loss of a step is "
        f"{number(found.highest)}, and the mean of the last {count(found.tail)} is {_ending(found)}."
    ]
    if not math.isnan(found.constant):
        sentences.append(f"A constant prediction has a loss of {number(found.constant)}.")
    if found.returned:
        sentences.append("It returns to about its start: on balance nothing is learned.")
    if found.rates_grew:
        sentences.append(
            f"By then the learning rate has risen from {rate_in_words(found.first_rates)} to "
            f"{rate_in_words(found.rates)}."
        )
    if found.maximizes:
        sentences.append(ascent_sentence(training))
    return " ".join(sentences)


def _charts(found: Divergence, training: Training) -> list[AnyEvidence]:
    mark = [Mark(label=f"step {count(found.step)}", x=found.step)]
    loss = loss_chart(
        training,
        "The training loss; the mark is where it diverges, the line where it starts.",
        [*mark, Mark(label="start", y=found.start, role="reference")],
    )
    updates = (
        "How much of itself a typical weight layer changed in one step. Where that grows before the mark the steps had "
        "become too large; where it grows after it, the loss was first."
    )
    return [loss, *([update_chart(training, updates, mark)] if found.update_ratios else [])]


def _slower(found: Divergence, training: Training) -> Action:
    """The learning rate that learning_rate_too_high names, where it was too high before; else a tenth of the rate."""
    if found.rise is not None:
        return hold(training, found.rise)
    where = f" at step {count(found.step)}" if found.too_large is None else ""
    before = found.rates if found.too_large is None else found.too_large.rates
    return Action(
        text=f"Lower the learning rate{where} from {rate_in_words(before)} to {rate_in_words(found.lower)}",
        code=line_with_rates(training, found.lower),
    )


def _measures(found: Divergence, limits: Limits) -> list[Measure]:
    return [
        ratio(
            (f"largest loss, median of {count(found.window)} steps", found.risen_to),
            ("start" if found.above_start else "loss of a constant", found.level),
            ">",
            limits.doubled,
            option="doubled",
            any_of="height",
        ),
        ratio(("last loss", found.last), ("start", found.start), ">", limits.worse, option="worse", any_of="height"),
    ]
