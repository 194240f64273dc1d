"""The learning rate schedule does not fit the run: it decays too early, never ends its warmup, or jumps.

## What it looks for

Four facts about the learning rate; each is a note, except for two cases. It is exactly 0 from before `early` of the run
to its end, and no parameter changes, whatever the loss does. It decayed to `collapsed` of its peak or less before
`early` of the run was over, and the loss, which had been falling up to then, gained less than `gain` of its first value
afterwards, or stopped there as `premature_plateau` tells, which is a warning: the usual cause is a schedule counted in
epochs and stepped once a batch. It rose over the whole run by more than `risen` times and was still rising at the end:
the warmup never ended. That is a warning, too, where the rate changed between epochs only, over at least `stairs`
epochs, and did not reach half the learning rate that the optimizer was made with: a schedule counted in steps and
stepped once an epoch. Where the schedule is a scheduler of torch's, whose calls are recorded, `scheduler_units` says
so. Or the rate of a parameter group jumped to more than `risen` times within one step, and the loss
rose there by more than `gain` of its first value. All but the last look at the largest rate over the groups. Constant
rates, long warmups and harmless restarts are not reported.

Other findings are named as its consequences, worse ones, too, where the loss shows it: a loss that was falling fast
when the rate had decayed; one that had fallen under a rate that rises to the end, and diverged or rose again after the
rate had risen by more than `risen` times; one that rose at a jump.

## Why it matters

Steps at a hundredth of the learning rate cost as much as the others and change next to nothing. A warmup that never
ends has not trained at the intended rate. A restart that is too high destroys what was learned before it.

## What to try

Give the scheduler the number of times that it will really be stepped, `epochs * len(loader)` when it is stepped once a
batch, and print the learning rate at the start, in the middle and at the end. After a restart let the rate rise over
some steps, to a lower peak than the last one.

## When it is wrong

A model that has converged gains nothing more at any rate; ReduceLROnPlateau lowers the rate because of that, and only
a loss that falls right before the drop tells the two apart. The first part of a longer run may well end in its warmup.
Warm restarts are meant to raise the loss for a while; whether it was worth it shows at the end.
"""

import math
from collections.abc import Iterator

import msgspec

from gradaudit.chart_data import Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart, rate_chart
from gradaudit.evidence.words.schedules import (
    down_to,
    end_of_rise,
    fall_in_words,
    gain_in_words,
    gain_measures,
    rise_in_words,
    smaller_jump,
    stopped_measures,
)
from gradaudit.evidence.words.wording import count, percent, plural, setting, times
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, Severity, Skipped, Span, ratio
from gradaudit.signals.loss.plateaus import EarlyDecay, stopped_by_decay
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats
from gradaudit.signals.updates.increasing_schedule import HALF, MonotonicIncrease, monotonic_increase, rises
from gradaudit.signals.updates.learning_rates import sustained
from gradaudit.signals.updates.rate_course import (
    DecayedRate,
    GainAround,
    RateCourse,
    decayed_rate,
    gain_around,
    idle_rate,
    largest_rate,
    rate_course,
)
from gradaudit.signals.updates.rate_jumps import AROUND, HarmfulJump, harmful_jump
from gradaudit.training import Training

_DRIVEN_UP = ["learning_rate_too_high", "loss_spike", "unstable_loss", "divergence", "premature_plateau",
              "gradient_growth", "dead_relu"]  # fmt: skip


class Limits(msgspec.Struct, frozen=True):
    """What a schedule may do to the learning rate, and what the loss has to make of it."""

    collapsed: float = 0.01  # gradsnitch's; a cosine gets there at 94 % of the run, a linear decay at 99 %
    early: float = 0.8  # gradsnitch's
    gain: float = 0.02  # of the first loss: no progress, as elsewhere
    risen: float = 3.0  # times; a rate that grows by less is no warmup, and no restart
    stairs: float = 5  # epochs; the first part of a longer run may well end in its warmup


class Decayed(Judged, frozen=True):
    """The learning rate has decayed long before the end, and with it the progress of the loss or every update."""

    loss: TrainingLoss
    decay: DecayedRate
    gain: GainAround | None  # of the loss; None where the rate is 0 and nothing is seen to move
    stopped: EarlyDecay | None  # the same, against the sum of the learning rates

    @property
    def span(self) -> Span:
        """From where it has decayed to the end."""
        return Span(first=int(self.loss.steps[self.decay.at]), last=int(self.loss.steps[-1]))


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps.learning_rate",),
    minimum_steps=100,
    explains=("learning_rate_too_low", *_DRIVEN_UP),
)
def learning_rate_schedule(
    training: Training, limits: Limits
) -> Iterator[Decayed | MonotonicIncrease | HarmfulJump | RateCourse | Skipped]:
    """Look where the learning rate peaks, where it has decayed, and where it jumps."""
    rate, loss = largest_rate(training), training_loss(training)
    if rate is None:
        yield Skipped(
            reason="the learning rate is not known at every step, or 0 throughout",
            enable="keep it as a number in optimizer.param_groups",
        )
    elif (decayed := _decay(training, rate, limits) or _idle(training, rate, limits)) is not None:
        yield decayed
    elif rises(rate, limits.risen):
        yield monotonic_increase(training, rate, limits.risen, limits.stairs)
    elif not loss.shapeless and (jump := harmful_jump(training, limits.risen, limits.gain)) is not None:
        yield jump
    else:
        yield rate_course(training, rate)


def _decay(training: Training, rate: Floats, limits: Limits) -> Decayed | None:
    loss, decay = training_loss(training), decayed_rate(sustained(rate, limits.risen), limits.collapsed)
    if decay is None or not decay.at < limits.early * len(rate) or loss.shapeless:
        return None
    gain, stopped = gain_around(loss, decay.at), stopped_by_decay(training, spent=limits.collapsed)
    slowed = gain.before > limits.gain > gain.after or stopped is not None
    return Decayed(loss, decay, gain, stopped) if slowed else None


def _idle(training: Training, rate: Floats, limits: Limits) -> Decayed | None:
    decay = idle_rate(training, rate)
    early = decay is not None and decay.at < limits.early * len(rate)
    return Decayed(training_loss(training), decay, None, None) if decay and early else None


@learning_rate_schedule.tell
def _course(found: RateCourse) -> Clean:
    start, top, end = (setting(value) for value in (found.first, found.top, found.last))
    which = "the learning rate" if found.groups == 1 else "the largest learning rate of all groups"
    if found.constant:
        return Clean(measured=f"{which} is {start} at every step")
    if start == top:
        return Clean(measured=f"{which} starts at {start}, its highest, and ends at {end}")
    at = f"is highest at step {count(found.top_step)} with {top}"
    return Clean(measured=f"{which} starts at {start}, {at}, and ends at {end}")


@learning_rate_schedule.tell
def _decayed(found: Decayed, training: Training, limits: Limits) -> Finding:
    decay, at = found.decay, f"step {count(found.span.first)}"
    mark = [Mark(label=at, x=found.span.first)]
    caption = (
        "from the mark on only the batches differ" if found.gain is None else "it stops falling with the learning rate"
    )
    return Finding(
        # What stopped the loss is no less than the plateau that `premature_plateau` warns of.
        severity=Severity.WARNING if found.stopped else Severity.NOTE,
        confidence=_confidence(found),
        title="Learning rate decayed too early" if decay.rate else f"Learning rate is 0 from {at}",
        headline=f"The learning rate {down_to(decay, at)}, with {percent(decay.rest)} of the run to go",
        explanation=f"It falls from {setting(decay.peak)} to {setting(decay.rate)}. {_standing(found, training)}",
        span=found.span,
        caused=["premature_plateau"] if found.stopped else [],
        evidence=[rate_chart(training, mark), loss_chart(training, f"The training loss: {caption}.", mark)],
        actions=[
            *([Action(text=f"Check the factor of the scheduler, its gamma: one step of it takes the learning rate from "
                      f"{setting(decay.previous)} to 0")] if decay.at_once else []),
            Action(text=f"Stretch the schedule over {count(decay.steps)} steps, the length of the run, when stepped "
                   "once a batch",
                   code=f"torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max={decay.steps})"),
            Action(text="If its numbers are meant as epochs, call scheduler.step() once an epoch"),
        ],
        measures=[
            Measure(quantity="learning rate / peak", value=decay.share_of_peak, comparison="<=",
                    threshold=limits.collapsed, option="collapsed"),
            Measure(quantity="share of the run by then", value=1 - decay.rest, comparison="<",
                    threshold=limits.early, unit="fraction", option="early"),
            *_since(found, limits),
        ],
    )  # fmt: skip


def _confidence(found: Decayed) -> Confidence:
    if found.gain is None:
        return Confidence.CERTAIN
    return Confidence.HIGH if found.stopped else Confidence.MEDIUM


def _standing(found: Decayed, training: Training) -> str:
    if found.stopped:
        return fall_in_words(training, found.stopped)
    if found.gain is None:
        return f"The last {plural(found.decay.steps - found.decay.at, 'step')} change no parameter."
    return gain_in_words(found.gain)


def _since(found: Decayed, limits: Limits) -> list[Measure]:
    if found.stopped:
        return stopped_measures(found.loss, found.decay.at, found.stopped)
    return gain_measures(found.gain, limits.gain) if found.gain else []


@learning_rate_schedule.tell
def _never_ends(found: MonotonicIncrease, training: Training, limits: Limits) -> Finding:
    harm, in_epochs = found.harm, found.in_epochs
    marks = [Mark(label=f"step {count(harm.since)}", x=harm.since)] if harm else []
    title, what = (
        ("Learning rate keeps rising", f", and from step {count(harm.since)} so does the loss") if harm
        else ("Scheduler stepped once an epoch", ", in a warmup stepped once an epoch") if in_epochs
        else ("Warmup never ends", "")
    )  # fmt: skip
    return Finding(
        severity=Severity.WARNING if in_epochs else Severity.NOTE,
        confidence=Confidence.HIGH if harm or in_epochs else Confidence.MEDIUM,
        title=title,
        headline=f"The learning rate rises to the end, from {setting(found.first)} to {setting(found.last)}{what}",
        explanation=f"It never falls in {count(found.steps)} steps and is highest at the last. {rise_in_words(found)}",
        span=Span(first=found.since, last=found.until),
        caused=_DRIVEN_UP if harm else [],
        evidence=[
            rate_chart(training, marks),
            *([loss_chart(training, "The training loss; up to the mark it was lowest.", marks)] if harm else []),
        ],
        actions=end_of_rise(training, found),
        measures=[
            ratio(("last learning rate", found.last), ("first", found.first), ">", limits.risen, option="risen"),
            Measure(quantity="changes between epochs, and none within", value=found.changes, comparison=">=",
                    threshold=limits.stairs - 1, unit="count", option="stairs", decides="warning"),
            ratio(("last learning rate", found.last), ("that it was made with", found.made_with), "<", HALF,
                  decides="warning"),
        ],
    )  # fmt: skip


@learning_rate_schedule.tell
def _jumps(jump: HarmfulJump, training: Training, limits: Limits) -> Finding:
    first = f"step {count(jump.jumps[0])}"
    where = first if len(jump.jumps) == 1 else f"{count(len(jump.jumps))} steps from {first}"
    marks = [Mark(label=f"step {count(step)}", x=step) for step in jump.jumps[:5]]
    finite = math.isfinite(jump.rise)
    rose = f"rises by {percent(jump.rise)} of its first value" if finite else "becomes NaN or infinite"
    back = f", and back by step {count(jump.back[0])}" if jump.back and jump.for_once else ""
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title=f"Learning rate jump at {first}" if jump.for_once else "Learning rate restart too high",
        headline=f"The learning rate jumps {times(jump.times)}-fold at {where}, and the loss {rose}",
        explanation=f"At step {count(jump.step)} the learning rate of a parameter group goes from {setting(jump.old)} "
        f"to {setting(jump.new)} within one step{back}. From the {AROUND} steps before to the {AROUND} after, the "
        f"median loss {rose}.",
        span=Span(first=jump.jumps[0], last=jump.last),
        caused=_DRIVEN_UP,
        evidence=[
            rate_chart(training, marks),
            loss_chart(training, "The training loss: it rises where the learning rate jumps.", marks),
        ],
        actions=smaller_jump(jump, limits.risen),
        measures=[
            Measure(quantity="learning rate / that of the step before", value=jump.times, comparison=">",
                    threshold=limits.risen, option="risen"),
            Measure(quantity="rise of the loss, of its first value", value=jump.rise, comparison=">",
                    threshold=limits.gain, unit="fraction", option="gain"),
        ],
    )  # fmt: skip
