"""The loss oscillates more and more widely and no longer falls, or rebounds from its best.

## What it looks for

The last four fifths of the run in eight parts. In each part, how widely the loss oscillates around its own straight
line: from the 10th to the 90th percentile of the residuals. The last two parts oscillating `growth` times as widely as
the first two, with a rank correlation of at least `trend` over the parts, by at least `share` of the first loss and at
least `turns` times up and down, while the loss falls by less than `gain` of its first value: then it is a note.

And the medians of the run's tenths: the last one above the lowest by at least `lost` of the improvement by then,
from the first loss, and by `errors` standard errors of their means, after an improvement of at least `share` of the
first loss. It is a note, and a warning when the validation loss loses as much of its own improvement and the learning
rate is no higher than it was then.

## Why it matters

An oscillation that grows is a step that overshoots a little more each time: the learning rate is above what the
sharpest direction of the loss allows. It tends to end in a spike or in divergence, and learning stops meanwhile. A loss
that rebounds has lost what earlier steps had gained: the best weights of the run are not its last.

## What to try

Divide the learning rate by 3, or let it decay from where the oscillation begins. Lower the momentum from 0.99 to 0.9,
and clip the gradient norm at its 90th percentile. Keep a checkpoint of the best step.

## When it is wrong

A loss that is steady but noisy oscillates as widely at the end as before and is not reported, and neither is one that
still falls. Data that becomes harder or more mixed over the run looks the same, and so does a penalty that sets in
late. A run that diverged, or that holds NaN, is left to `divergence` and `non_finite`; adversarial, contrastive and
policy-gradient losses oscillate by nature.
"""

from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart, norm_chart
from gradaudit.evidence.words.optimizers import label_of, rate_in_words
from gradaudit.evidence.words.schedules import hold
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, factor, literal, number, percent, plural, setting
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Mark,
    Measure,
    NotApplicable,
    Severity,
    Span,
    Verdict,
    ratio,
)
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.validation import validation
from gradaudit.signals.loss.progress import LossRebound, loss_rebound
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, largest, quantile, rank_correlation
from gradaudit.signals.updates.increasing_schedule import increasing_schedule
from gradaudit.training import Training

_SKIPPED = 0.2  # of the run: a loss that starts to learn oscillates as it falls
_PARTS = 8
_EVALUATIONS = 4


@diagnoser(per="training", worst=Severity.WARNING, needs=("steps",), minimum_steps=200)
def unstable_loss(
    training: Training,
    *,
    growth: float = 2.0,  # gradsnitch takes 1.6; of our sample runs those that train well reach 1.6
    trend: float = 0.75,  # Spearman's, over eight parts: 1 in 50 by chance
    share: float = 0.1,  # of the first loss; not measured: smaller oscillations cost little
    turns: float = 6.0,  # gradsnitch's number of reversals: less is a slope or a spike
    gain: float = 0.01,  # of the first loss; while it falls, the noise may grow with what is learned
    lost: float = 0.15,  # of the gain; healthy runs reach 0.14 at 1.5 standard errors, faulty ones start at 0.20
    errors: float = 4.0,  # standard errors; those faulty ones start at 5
) -> Iterator[Verdict]:
    """Compare how widely the loss oscillates at the end and at the beginning."""
    loss = training_loss(training)
    if loss.shapeless:
        yield NotApplicable(reason=unclear_in_words(loss.shapeless))
        return
    if not numpy.isfinite(loss.values).all():
        yield NotApplicable(reason=f"the loss is not finite at every step{label_of(training)}")
        return
    if diverges(training) is not None:
        yield NotApplicable(reason=f"the loss diverges, which is worse than an oscillation{label_of(training)}")
        return
    climbed = loss_rebound(loss)
    if climbed and climbed.lost >= lost and climbed.errors >= errors and climbed.gained >= share:
        yield _back_up(loss, climbed, lost, errors, share)
        return
    parts = numpy.array_split(loss.values[int(_SKIPPED * len(loss.values)) :], _PARTS)
    left = [_around_line(part) for part in parts]
    widths = numpy.asarray([_width(part) for part in left])
    early, late = float(widths[:2].mean()), float(widths[-2:].mean())
    grown = late / early if early > 0 else 1.0
    fall = float(numpy.concatenate(parts[:2]).mean() - numpy.concatenate(parts[-2:]).mean())
    crossings = sum(_turns(part) for part in left[-2:])
    if (
        grown < growth
        or not rank_correlation(widths) >= trend
        or late < share * abs(loss.first)
        or crossings < turns
        or fall >= gain * abs(loss.first)
    ):
        yield Clean(
            measured=f"the loss oscillates by {number(late, 2)} at the end, {factor(grown)} times as widely as at the "
            f"beginning"
        )
        return
    limits = (growth, trend, share, turns, gain)
    yield _finding(loss, parts, widths, crossings, fall, limits)


def _around_line(part: Floats) -> Floats:
    """`part` less the straight line through it."""
    steps = numpy.arange(len(part)) - (len(part) - 1) / 2
    flat = part - part.mean()
    slope = (flat * steps).sum() / (steps**2).sum()
    return numpy.asarray(flat - slope * steps, dtype=numpy.float64)


def _width(left: Floats) -> float:
    low, high = (float(quantile(left.reshape(-1, 1), share)[0]) for share in (0.1, 0.9))
    return high - low


def _turns(left: Floats) -> int:
    """How often it crosses its line."""
    return int((numpy.diff(numpy.sign(left)) != 0).sum())


def _back_up(loss: TrainingLoss, climbed: LossRebound, lost: float, errors: float, share: float) -> Finding:
    training = loss.training
    start, until = int(loss.steps[climbed.index]), int(loss.steps[climbed.until])
    rates = training.learning_rates
    then, now = rates[climbed.until], rates[-1]
    steady = numpy.array_equal(rates[climbed.until :], numpy.broadcast_to(then, rates[climbed.until :].shape), True)
    held_out = _validation_rebound(training.run)
    worse = held_out >= lost
    rise = increasing_schedule(training)
    grown = rates[-1] / numpy.where(then > 0, then, numpy.nan)
    raised = bool((now > then).any())
    return Finding(
        severity=Severity.WARNING if worse and not raised else Severity.NOTE,
        confidence=Confidence.MEDIUM if worse else Confidence.LOW,
        title=f"Loss rebound from step {count(until)}",
        headline=f"The loss rebounds from {number(climbed.best)} at steps {count(start)} to {count(until - 1)} to "
        f"{number(climbed.last)} at the end",
        explanation=f"It had fallen by {percent(climbed.gained)} of its first value, {number(loss.first)}, and has "
        "lost "
        f"{percent(climbed.lost)} of that again in the last tenth of the run (medians of tenths). The learning rate is "
        + (f"{rate_in_words(now)} from step {count(until)} on." if steady
           else f"{rate_in_words(then)} at step {count(until)} and {rate_in_words(now)} at the end.")
        + (" The validation loss rebounds, too." if worse else ""),
        span=Span(first=until, last=int(loss.steps[-1])),
        evidence=[
            loss_chart(training, "The training loss; the mark is where its best tenth ends.",
                       [Mark(label=f"step {count(until)}", x=until)]),
            norm_chart(training, "The gradient norm over the same steps: steps that overshoot make it grow, "
                       "too.", []),
        ],
        actions=[
            hold(training, rise) if rise is not None else
            Action(text=f"Keep the learning rate at or below {rate_in_words(then / 3)}, a third of what it is at step "
                   f"{count(until)}, or let it decay from there"),
            Action(text=f"Compare the model with its weights of step {count(until)}, by the validation loss"),
            Action(text="If the data, or a weight in the loss, changes there, judge by the validation loss"),
        ],
        measures=[
            Measure(quantity="rise since the best tenth / improvement by then", value=climbed.lost, comparison=">=",
                    threshold=lost, unit="fraction", option="lost"),
            Measure(quantity="rise / standard error", value=climbed.errors, comparison=">=", threshold=errors,
                    option="errors"),
            Measure(quantity="improvement by then / first loss", value=climbed.gained, comparison=">=", threshold=share,
                    unit="fraction", option="share"),
            Measure(quantity="rise of the validation loss / its improvement", value=held_out, comparison=">=",
                    threshold=lost, unit="fraction", option="lost", decides="warning"),
            *([] if not numpy.isfinite(grown).any() else [
                Measure(quantity="learning rate at the end / where the best tenth ends", value=largest(grown),
                        comparison=">", threshold=1, decides="note")]),
        ],
    )  # fmt: skip


def _validation_rebound(run: Run) -> float:
    """The share of its improvement that the validation loss has lost at the end; NaN where it is not known."""
    held_out = validation(run)
    values = held_out.losses[numpy.isfinite(held_out.losses)] if held_out is not None else numpy.zeros(0)
    if len(values) < _EVALUATIONS or not values[0] > values.min():
        return float("nan")
    return float((numpy.median(values[-2:]) - values.min()) / (values[0] - values.min()))


def _finding(
    loss: TrainingLoss,
    parts: list[Floats],
    widths: Floats,
    crossings: int,
    fall: float,
    limits: tuple[float, float, float, float, float],
) -> Finding:
    growth, trend, share, turns, gain = limits
    training, first = loss.training, abs(loss.first)
    early, late = float(widths[:2].mean()), float(widths[-2:].mean())
    # The first part after which every one oscillates more widely than the first two did.
    narrow = numpy.flatnonzero(widths < growth * early)
    begins = min(int(narrow[-1]) + 1, len(parts) - 2) if len(narrow) else 0
    at = len(loss.values) - sum(len(part) for part in parts[begins:])
    start = int(loss.steps[at])
    rates = training.learning_rates[at]
    rise = increasing_schedule(training)
    norms = training.steps["gradient_norm"].to_numpy(dtype=float)
    high = float(quantile(norms.reshape(-1, 1), 0.9)[0]) if numpy.isfinite(norms).any() else None
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title=f"Oscillating loss from step {count(start)}",
        headline=f"The loss oscillates {factor(late / early)} times as widely at the end, by {number(late, 2)}, and no "
        f"longer falls",
        explanation=f"From step {count(start)} on it oscillates at least {setting(growth)} times as widely as at the "
        f"beginning. In the last quarter it crosses its trend {plural(crossings, 'time')} and oscillates by "
        f"{percent(late / first) if first else number(late)} of the first loss, at a learning rate of "
        f"{rate_in_words(training.learning_rates[-1])}.",
        span=Span(first=start, last=int(loss.steps[-1])),
        evidence=[
            loss_chart(training, "The training loss; the mark is where its oscillation has become wide.",
                       [Mark(label=f"step {count(start)}", x=start)]),
            norm_chart(training, "The gradient norm over the same steps: steps that overshoot make it grow, "
                       "too.", []),
        ],
        actions=[
            hold(training, rise) if rise is not None else
            Action(text=f"Keep the learning rate at or below {rate_in_words(rates / 3)}, a third of what it is at step "
                   f"{count(start)}, or let it decay from there"),
            Action(text=f"Clip the gradient norm at {'1' if high is None else number(high, 2)}, its 90th percentile",
                   code=f"torch.nn.utils.clip_grad_norm_(model.parameters(), {1 if high is None else literal(high)})"),
            Action(text="If the batches differ much, take 4 times as many examples a step"),
        ],
        measures=[
            ratio(("oscillation of the last quarter", late), ("first", early), ">=", growth, option="growth"),
            Measure(quantity="rank correlation of oscillation and time", value=rank_correlation(widths),
                    comparison=">=", threshold=trend, option="trend"),
            ratio(("oscillation of the last quarter", late), ("first loss", first), ">=", share, unit="fraction",
                  option="share"),
            Measure(quantity="crossings of the trend, last quarter", value=crossings, comparison=">=",
                    threshold=turns, unit="count", option="turns"),
            ratio(("fall of the loss", fall), ("first loss", first), "<", gain, option="gain"),
        ],
    )  # fmt: skip
