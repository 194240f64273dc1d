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

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart, update_chart
from gradaudit.evidence.words.optimizers import optimizer_line, rate_in_words
from gradaudit.evidence.words.schedules import hold
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, number
from gradaudit.findings import (
    Action,
    AnyEvidence,
    Clean,
    Confidence,
    Finding,
    Mark,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
    ratio,
)
from gradaudit.signals.loss.progress import constant_level, smoothing_window, start_level
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, largest, running_median
from gradaudit.signals.updates.increasing_schedule import increasing_schedule
from gradaudit.signals.updates.learning_rates import by_hand, maximizes, optimizer_class, same_rate
from gradaudit.signals.updates.ratios import median_update_ratio
from gradaudit.signals.updates.stable_learning_rate import stable_learning_rate
from gradaudit.training import Training

_LEAD_UP = 20  # steps before the loss leaves at which a step that is too large counts as its cause


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("steps",),
    minimum_steps=10,
    explains=("non_finite", "no_learning", "loss_spike"),
)
def divergence(
    training: Training,
    *,
    doubled: float = 2.0,  # times the start; healthy runs stay below 1.3
    worse: float = 1.15,  # last over first loss; healthy runs stay below 1
) -> Iterator[Verdict]:
    """Compare the running median of the loss with its start."""
    loss = training_loss(training)
    if loss.shapeless:
        yield NotApplicable(reason=unclear_in_words(loss.shapeless))
        return
    start = start_level(loss)
    if not math.isfinite(start) or len(loss.values) < 10:
        yield Skipped(
            reason=f"the first loss is {number(start)}, of {count(len(loss.values))} steps",
            enable="fix what non_finite reports, or train for 10 steps",
        )
        return
    at = diverges(training, doubled, worse)
    if at is None:
        yield Clean(
            measured=f"the loss starts at {number(start)}, ends at {number(loss.last)} (mean of the last 10 %) and "
            f"is never above {number(largest(loss.values))}"
        )
    else:
        yield _finding(training, loss, start, at, doubled, worse)


def _finding(training: Training, loss: TrainingLoss, start: float, at: int, doubled: float, worse: float) -> Finding:
    constant = constant_level(loss)
    top = largest(loss.values)
    returned = math.isfinite(loss.last) and loss.last <= start
    harmless = not math.isnan(constant) and top < constant
    mark = [Mark(label=f"step {count(at)}", x=at)]
    row = int(numpy.argmax(loss.steps >= at))
    rates = training.learning_rates
    rate, first_rate = rates[row], rates[0]
    window = smoothing_window(loss)
    smooth = running_median(loss.values, window)
    lowest = float(numpy.nanmin(smooth[: row + 1]))
    level = start if math.isnan(constant) else max(start, constant)
    tail = max(5, len(loss.values) // 10)
    ending = number(loss.last) if math.isfinite(loss.last) else "NaN or infinity"
    seen = [
        f"The loss starts at {number(start)} and is {number(lowest)} at its lowest before step {count(at)} (median of "
        f"{count(window)} steps). The highest loss of a step is {number(top)}, and the mean of the last {count(tail)} "
        f"is {ending}."
    ]
    if not math.isnan(constant):
        seen.append(f"A constant prediction has a loss of {number(constant)}.")
    if returned:
        seen.append("It returns to about its start: on balance nothing is learned.")
    grown = numpy.isfinite(rate) & numpy.isfinite(first_rate) & (rate > 3 * first_rate)
    if grown.any():
        seen.append(f"By then the learning rate has risen from {rate_in_words(first_rate)} to {rate_in_words(rate)}.")
    evidence: list[AnyEvidence] = [
        loss_chart(
            training,
            "The training loss; the mark is where it diverges, the line where it starts.",
            [*mark, Mark(label="start", y=start, role="reference")],
        )
    ]
    if numpy.isfinite(median_update_ratio(training)).any():
        evidence.append(
            update_chart(
                training,
                "How much of itself a typical weight layer changed in one step. Where that grows before the mark the "
                "steps had become too large; where it grows after it, the loss was first.",
                mark,
            )
        )
    last = int(loss.steps[-1])
    wrong_way, hand = maximizes(training), by_hand(training)
    if wrong_way:
        seen.append(
            "The script adds the gradient instead of subtracting it: it raises the loss."
            if hand
            else f"{optimizer_class(training)} was made with maximize=True: it raises the loss."
        )
    turn = (
        Action(text="Subtract the gradient, if the loss is meant to fall", code="p -= lr * p.grad")
        if hand
        else Action(
            text="Remove maximize=True: the optimizer raises the loss on purpose",
            code=optimizer_line(training, lr=rate_in_words(rate)) if same_rate(rate) else "",
        )
    )
    return Finding(
        severity=Severity.WARNING if harmless else Severity.CRITICAL,
        confidence=Confidence.CERTAIN if wrong_way else Confidence.MEDIUM if harmless else Confidence.HIGH,
        title="Gradient ascent instead of descent"
        if wrong_way
        else f"{'Rising loss' if harmless else 'Divergence'} from step {count(at)}",
        headline=(
            f"The loss rises from {number(lowest)} to {number(top)} at step {count(at)} and only returns to its "
            f"start, {ending}"
            if returned
            else f"From step {count(at)} the loss rises from {number(lowest)} to {number(top)}, and it ends at {ending}"
            if harmless
            else f"The loss diverges at step {count(at)}: it rises from {number(lowest)} to {number(top)} and ends at "
            + ending
        ),
        explanation=" ".join(seen),
        span=Span(first=at, last=last),
        evidence=evidence,
        actions=[
            *([turn] if wrong_way else []),
            _slower(training, at, rate),
            Action(
                text="Clip the gradient norm before each step",
                code="torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
            ),
            Action(text=f"Look at the batches just before step {count(at)}, and at what the schedule does there"),
        ],
        measures=[
            ratio(
                (f"largest loss, median of {count(window)} steps", largest(smooth[3:])),
                ("start" if level == start else "loss of a constant", level),
                ">",
                doubled,
                option="doubled",
                any_of="height",
            ),
            ratio(("last loss", loss.last), ("start", start), ">", worse, option="worse", any_of="height"),
        ],
    )


def _slower(training: Training, at: int, rate: Floats) -> Action:
    """The learning rate that learning_rate_too_high names, where it was too high before; else a tenth of the rate."""
    rise = increasing_schedule(training)
    if rise is not None:
        return hold(training, rise)
    stable = stable_learning_rate(training)
    if stable is not None and stable.step <= at + _LEAD_UP:
        text = f"Lower the learning rate from {rate_in_words(stable.rates)} to {rate_in_words(stable.lower)}"
        lower = stable.lower
    else:
        lower = rate / 10
        text = f"Lower the learning rate at step {count(at)} from {rate_in_words(rate)} to {rate_in_words(lower)}"
    code = optimizer_line(training, lr=rate_in_words(lower)) if same_rate(lower) else ""
    return Action(text=text, code=code)
