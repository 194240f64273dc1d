"""The loss runs away from where it started and does not come back.

## What it looks for

The running median of the training loss, over five steps or as many as cover 32 targets. Above `doubled` times its
start, or times the loss of the best constant predictor where that is larger, it has diverged. So it has when the last
tenth of the run lies above `worse` times the start by more than the noise. It is critical, or a warning when the loss
comes back below its start, or never rises above what a constant predictor scores. Losses whose level means nothing
(adversarial, contrastive, policy gradients, unknown ones) are not judged, and neither is a rise of at most 5 % of the
steps, far into a run, that comes back below the start: `loss_spike` reports it. The first loss is that of one batch:
the last ones must lie above it by more than batches differ, too.

## Why it matters

The model is worse than before training, and steps from here on start from a worse place than a random one.

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

from gradaudit.derived.each_optimizer import each_optimizer
from gradaudit.derived.evidence import loss_chart, update_chart
from gradaudit.derived.learning_rates import climbs, label_of, learning_rates, optimizer_class, rate_in_words
from gradaudit.derived.order_statistics import largest
from gradaudit.derived.progress import constant_level, start_level
from gradaudit.derived.progress import divergence as diverges
from gradaudit.derived.ratios import typical_update
from gradaudit.derived.training_loss import TrainingLoss, training_loss
from gradaudit.derived.wording import count, factor, number, setting
from gradaudit.diagnoser import diagnoser
from gradaudit.findings import (
    Action,
    AnyEvidence,
    Clean,
    Confidence,
    CouldNotLook,
    Finding,
    Mark,
    Measure,
    NotApplicable,
    Severity,
    Span,
    Verdict,
)
from gradaudit.run import Run


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("steps",),
    minimum_steps=10,
    explains=("non_finite", "no_learning", "loss_spike"),
)
def divergence(
    run: Run,
    *,
    doubled: float = 2.0,  # times the start; healthy runs stay below 1.3
    worse: float = 1.15,  # last over first loss; healthy runs stay below 1
) -> Iterator[Verdict]:
    """Compare the running median of the loss with its start."""

    def judge(optimizer: int) -> Iterator[Verdict]:
        loss = training_loss(run, optimizer)
        if loss.unjudged:
            yield NotApplicable(reason=loss.unjudged)
            return
        start = start_level(loss)
        if not math.isfinite(start) or len(loss.values) < 10:
            yield CouldNotLook(
                reason=f"the first loss is {number(start)}, of {count(len(loss.values))} steps",
                enable="mend what non_finite reports, or train for 10 steps",
            )
            return
        at = diverges(run, optimizer, doubled, worse)
        if at is None:
            yield Clean(
                measured=f"the loss starts at {number(start)}, ends at {number(loss.last)} and is never above "
                f"{number(largest(loss.values))}{label_of(run, optimizer)}"
            )
        else:
            yield _finding(run, optimizer, loss, start, at, doubled, worse)

    yield from each_optimizer(run, judge)


def _finding(
    run: Run, optimizer: int, loss: TrainingLoss, start: float, at: int, doubled: float, worse: float
) -> Finding:
    constant = constant_level(loss)
    top = largest(loss.values)
    recovered = math.isfinite(loss.last) and loss.last < 0.9 * start
    harmless = not math.isnan(constant) and top < constant
    mark = [Mark(label=f"step {count(at)}", x=at)]
    row = int(numpy.argmax(loss.steps >= at))
    rates = learning_rates(run, optimizer)
    rate, first_rate = rates[row], rates[0]
    lowest = float(numpy.nanmin(loss.values[: row + 1]))
    ending = number(loss.last) if math.isfinite(loss.last) else "NaN or infinity"
    seen = [
        f"The loss starts at {number(start)}, is {number(lowest)} at its lowest before step {count(at)}, then climbs "
        f"to {number(top)} and ends at {ending}."
    ]
    if not math.isnan(constant):
        seen.append(f"Always predicting the same, without looking at the input, gives {number(constant)}.")
    if recovered:
        seen.append("It comes back below its start.")
    grown = numpy.isfinite(rate) & numpy.isfinite(first_rate) & (rate > 3 * first_rate)
    if grown.any():
        seen.append(f"By then the learning rate has gone from {rate_in_words(first_rate)} to {rate_in_words(rate)}.")
    evidence: list[AnyEvidence] = [
        loss_chart(
            run,
            optimizer,
            "The training loss; the mark is where it runs away, the line where it started.",
            [*mark, Mark(label="start", y=start, role="reference")],
        )
    ]
    if numpy.isfinite(typical_update(run, optimizer)).any():
        evidence.append(
            update_chart(
                run,
                optimizer,
                "How much of itself a typical weight layer changed in one step. A rise before the mark is the cause.",
                mark,
            )
        )
    last = int(loss.steps[-1])
    wrong_way = climbs(run, optimizer)
    if wrong_way:
        seen.append(f"{optimizer_class(run, optimizer)} was made with maximize=True: it walks up the loss.")
    turn = Action(
        text="Remove maximize=True: the optimizer raises the loss on purpose",
        code=f"torch.optim.{optimizer_class(run, optimizer)}(model.parameters(), lr={rate_in_words(rate)})",
    )
    return Finding(
        severity=Severity.WARNING if recovered or harmless else Severity.CRITICAL,
        confidence=Confidence.CERTAIN if wrong_way else Confidence.MEDIUM if recovered or harmless else Confidence.HIGH,
        headline=f"The loss diverges at step {count(at)}: it climbs from {number(lowest)} to {number(top)} and ends at "
        + ending
        + label_of(run, optimizer),
        seen=" ".join(seen),
        span=Span(first=at, last=last),
        evidence=evidence,
        actions=[
            *([turn] if wrong_way else []),
            Action(
                text=f"Lower the learning rate at step {count(at)} from {rate_in_words(rate)} to "
                f"{rate_in_words(rate / 10)}",
                code=f"torch.optim.{optimizer_class(run, optimizer)}(model.parameters(), lr={rate_in_words(rate / 10)})"
                if len(set(rate[numpy.isfinite(rate)])) == 1
                else "",
            ),
            Action(
                text="Clip the gradient norm before each step",
                code="torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
            ),
            Action(text=f"Look at the batches just before step {count(at)}, and at what the schedule does there"),
        ],
        measures=[
            Measure(
                quantity="largest loss / start",
                observed=factor(top / start) if start else number(top),
                threshold=f"> {setting(doubled)} in the running median",
                option="doubled",
            ),
            Measure(
                quantity="last loss / start",
                observed=factor(loss.last / start) if start and math.isfinite(loss.last) else ending,
                threshold=f"> {setting(worse)}",
                option="worse",
            ),
        ],
    )
