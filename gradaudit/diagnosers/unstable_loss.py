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

import math
from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_and_norm
from gradaudit.evidence.words.clipping import clip_norm
from gradaudit.evidence.words.optimizers import label_of, rate_in_words
from gradaudit.evidence.words.schedules import keep_below
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, factor, number, percent, plural, setting
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Span, ratio
from gradaudit.signals.evaluation.validation import validation_rebound
from gradaudit.signals.loss.oscillation import Oscillation, oscillation
from gradaudit.signals.loss.progress import LossRebound, loss_rebound
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, quantile
from gradaudit.signals.updates.increasing_schedule import IncreasingSchedule, increasing_schedule
from gradaudit.signals.updates.rate_change import RateChange, rate_change
from gradaudit.training import Training


class Limits(msgspec.Struct, frozen=True):
    """From where on a loss is unstable."""

    growth: float = 2.0  # gradsnitch takes 1.6; of our sample runs those that train well reach 1.6
    trend: float = 0.75  # Spearman's, over eight parts: 1 in 50 by chance
    share: float = 0.1  # of the first loss; not measured: smaller oscillations cost little
    turns: float = 6.0  # gradsnitch's number of reversals: less is a slope or a spike
    gain: float = 0.01  # of the first loss; while it falls, the noise may grow with what is learned
    lost: float = 0.15  # of the gain; healthy runs reach 0.14 at 1.5 standard errors, faulty ones start at 0.20
    errors: float = 4.0  # standard errors; those faulty ones start at 5


class Rebound(Judged, frozen=True):
    """The loss rebounds from its best tenth."""

    loss: TrainingLoss
    rebound: LossRebound
    best_from: int  # global step at which the best tenth of the run begins
    best_until: int  # global step after it
    rates: RateChange  # since that step
    held_out: float  # share of its improvement that the validation loss has lost; NaN where it is not known
    held_out_rebounds: bool  # it has lost as much of it
    lower: Floats  # [groups] a third of the learning rates then
    rise: IncreasingSchedule | None  # the schedule that drove the loss up
    span: Span

    @property
    def severity(self) -> Severity:
        """A warning where the validation loss agrees, and no raised learning rate may be meant."""
        return Severity.WARNING if self.held_out_rebounds and not self.rates.raised else Severity.NOTE


class Oscillating(Judged, frozen=True):
    """The loss oscillates more and more widely, and no longer falls."""

    oscillation: Oscillation
    first: float  # absolute first loss
    since: int  # global step from which on it oscillates widely
    rates_last: Floats  # [groups] learning rates at the last step
    lower: Floats  # [groups] a third of the learning rates at `since`
    rise: IncreasingSchedule | None  # the schedule that drove the loss up
    norm: float  # 90th percentile of the gradient norm; NaN where none was recorded
    span: Span


class Steady(Judged, frozen=True):
    """The loss neither rebounds nor oscillates more and more widely."""

    late: float  # how widely it oscillates in the last quarter
    growth: float  # times as widely as in the first


class NotFinite(Judged, frozen=True):
    """The loss is NaN or infinite at some step."""


class Diverges(Judged, frozen=True):
    """The loss diverges, which is worse."""


@diagnoser(per="training", worst=Severity.WARNING, needs=("steps",), minimum_steps=200)
def unstable_loss(
    training: Training, limits: Limits
) -> Iterator[Rebound | Oscillating | Steady | NotFinite | Diverges | NotApplicable]:
    """Compare how widely the loss oscillates at the end and at the beginning."""
    loss = training_loss(training)
    if loss.shapeless:
        yield NotApplicable(reason=unclear_in_words(loss.shapeless))
    elif not numpy.isfinite(loss.values).all():
        yield NotFinite()
    elif diverges(training) is not None:
        yield Diverges()
    elif (rebound := loss_rebound(loss)) is not None and _is_lasting(rebound, limits):
        yield _rebound(loss, rebound, limits)
    else:
        swings = oscillation(loss.values)
        grows = _grows(swings, abs(loss.first), limits)
        yield _oscillating(loss, swings, limits) if grows else Steady(swings.late, swings.growth)


def _is_lasting(rebound: LossRebound, limits: Limits) -> bool:
    return rebound.lost >= limits.lost and rebound.errors >= limits.errors and rebound.gained >= limits.share


def _rebound(loss: TrainingLoss, rebound: LossRebound, limits: Limits) -> Rebound:
    training, until = loss.training, int(loss.steps[rebound.until])
    rates, held_out = rate_change(training, rebound.until), validation_rebound(training.run)
    return Rebound(
        loss=loss,
        rebound=rebound,
        best_from=int(loss.steps[rebound.index]),
        best_until=until,
        rates=rates,
        held_out=held_out,
        held_out_rebounds=held_out >= limits.lost,
        lower=rates.then / 3,
        rise=increasing_schedule(training),
        span=Span(first=until, last=int(loss.steps[-1])),
    )


def _grows(swings: Oscillation, first: float, limits: Limits) -> bool:
    wider = swings.growth >= limits.growth and swings.trend >= limits.trend and swings.late >= limits.share * first
    return wider and swings.crossings >= limits.turns and swings.fall < limits.gain * first


def _oscillating(loss: TrainingLoss, swings: Oscillation, limits: Limits) -> Oscillating:
    training, at = loss.training, swings.since(limits.growth)
    norms = training.steps["gradient_norm"].to_numpy(dtype=float)
    since = int(loss.steps[at])
    return Oscillating(
        oscillation=swings,
        first=abs(loss.first),
        since=since,
        rates_last=training.learning_rates[-1],
        lower=training.learning_rates[at] / 3,
        rise=increasing_schedule(training),
        norm=float(quantile(norms.reshape(-1, 1), 0.9)[0]),
        span=Span(first=since, last=int(loss.steps[-1])),
    )


@unstable_loss.tell
def _not_finite(found: NotFinite, training: Training) -> NotApplicable:
    return NotApplicable(reason=f"the loss is not finite at every step{label_of(training)}")


@unstable_loss.tell
def _diverges(found: Diverges, training: Training) -> NotApplicable:
    return NotApplicable(reason=f"the loss diverges, which is worse than an oscillation{label_of(training)}")


@unstable_loss.tell
def _steady(found: Steady) -> Clean:
    return Clean(
        measured=f"the loss oscillates by {number(found.late, 2)} at the end, {factor(found.growth)} times as widely "
        "as at the beginning"
    )


@unstable_loss.tell
def _back_up(found: Rebound, training: Training, limits: Limits) -> Finding:
    rebound, until = found.rebound, count(found.best_until)
    return Finding(
        severity=found.severity,
        confidence=Confidence.MEDIUM if found.held_out_rebounds else Confidence.LOW,
        title=f"Loss rebound from step {until}",
        headline=f"The loss rebounds from {number(rebound.best)} at steps {count(found.best_from)} to "
        f"{count(found.best_until - 1)} to {number(rebound.last)} at the end",
        explanation=_lost(found),
        span=found.span,
        evidence=[
            *loss_and_norm(training, "The training loss; the mark is where its best tenth ends.", found.best_until)
        ],
        actions=[
            keep_below(training, found.rise, found.lower, found.best_until),
            Action(text=f"Compare the model with its weights of step {until}, by the validation loss"),
            Action(text="If the data, or a weight in the loss, changes there, judge by the validation loss"),
        ],
        measures=_measures_of_rebound(found, limits),
    )


def _lost(found: Rebound) -> str:
    until = count(found.best_until)
    rates = (
        f"{rate_in_words(found.rates.now)} from step {until} on"
        if found.rates.steady
        else f"{rate_in_words(found.rates.then)} at step {until} and {rate_in_words(found.rates.now)} at the end"
    )
    held_out = " The validation loss rebounds, too." if found.held_out_rebounds else ""
    return (
        f"It had fallen by {percent(found.rebound.gained)} of its first value, {number(found.loss.first)}, and has "
        f"lost {percent(found.rebound.lost)} of that again in the last tenth of the run (medians of tenths). The "
        f"learning rate is {rates}.{held_out}"
    )


def _measures_of_rebound(found: Rebound, limits: Limits) -> list[Measure]:
    raised = Measure(quantity="learning rate at the end / where the best tenth ends", value=found.rates.times,
                     comparison=">", threshold=1, decides="note")  # fmt: skip
    return [
        Measure(quantity="rise since the best tenth / improvement by then", value=found.rebound.lost, comparison=">=",
                threshold=limits.lost, unit="fraction", option="lost"),
        Measure(quantity="rise / standard error", value=found.rebound.errors, comparison=">=", threshold=limits.errors,
                option="errors"),
        Measure(quantity="improvement by then / first loss", value=found.rebound.gained, comparison=">=",
                threshold=limits.share, unit="fraction", option="share"),
        Measure(quantity="rise of the validation loss / its improvement", value=found.held_out, comparison=">=",
                threshold=limits.lost, unit="fraction", option="lost", decides="warning"),
        *([] if math.isnan(found.rates.times) else [raised]),
    ]  # fmt: skip


@unstable_loss.tell
def _wider(found: Oscillating, training: Training, limits: Limits) -> Finding:
    swings, since = found.oscillation, count(found.since)
    at = "" if math.isnan(found.norm) else f" at {number(found.norm, 2)}, its 90th percentile"
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title=f"Oscillating loss from step {since}",
        headline=f"The loss oscillates {factor(swings.growth)} times as widely at the end, by "
        f"{number(swings.late, 2)}, and no longer falls",
        explanation=f"From step {since} on it oscillates at least {setting(limits.growth)} times as widely as at the "
        f"beginning. In the last quarter it crosses its trend {plural(swings.crossings, 'time')} and oscillates by "
        f"{percent(swings.late / found.first) if found.first else number(swings.late)} of the first loss, at a "
        f"learning rate of {rate_in_words(found.rates_last)}.",
        span=found.span,
        evidence=[
            *loss_and_norm(
                training, "The training loss; the mark is where its oscillation has become wide.", found.since
            )
        ],
        actions=[
            keep_below(training, found.rise, found.lower, found.since),
            clip_norm(f"Clip the gradient norm{at}", found.norm),
            Action(text="If the batches differ much, take 4 times as many examples a step"),
        ],
        measures=[
            ratio(("oscillation of the last quarter", swings.late), ("first", swings.early), ">=", limits.growth,
                  option="growth"),
            Measure(quantity="rank correlation of oscillation and time", value=swings.trend, comparison=">=",
                    threshold=limits.trend, option="trend"),
            ratio(("oscillation of the last quarter", swings.late), ("first loss", found.first), ">=", limits.share,
                  unit="fraction", option="share"),
            Measure(quantity="crossings of the trend, last quarter", value=swings.crossings, comparison=">=",
                    threshold=limits.turns, unit="count", option="turns"),
            ratio(("fall of the loss", swings.fall), ("first loss", found.first), "<", limits.gain, option="gain"),
        ],
    )  # fmt: skip
