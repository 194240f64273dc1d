"""The learning rate scheduler is stepped in another unit than it counts in, for an idle optimizer, or in a wrong mode.

## What it looks for

The calls of each scheduler's `step` against the steps of its optimizer, the batches and the epochs of the run, and the
numbers that the scheduler was made with. Warnings are: a schedule that was planned in steps or batches, within `near`
of those of the run, and is stepped once an epoch or once an optimizer step, so that at most `part` of it is run; a
warmup that is stepped once an epoch and has not come to half of the learning rate at the end; a schedule that counts
epochs, is stepped once a batch and is over before `part` of the run; one that is over so early since more than `often`
of its calls follow another one without a step; one that is over so early for any reason where the learning rate is 0
or next to it from then on; and a scheduler whose optimizer makes no steps. Notes are a schedule that is over so early
for another reason and ends elsewhere, repeated calls that do no known harm, a scheduler that is stepped before the
first optimizer step, and one that is never stepped.

And the metrics that ReduceLROnPlateau was given, against its mode: one that was best, as the mode counts, at the first
calls, and got better in the other direction, while the learning rate was cut. It is a warning where that halved the
rate or more, else a note. A loss is told by its value, which is that of an evaluation or of the training since the call
before. An accuracy is told by its values, which are whole counts out of one number of examples, and rose by `errors`
standard errors while the training loss fell; or, like a loss that was not seen, by the loss of the same evaluations.
Nothing is said of a metric that none of these tells, of one that was on a device, and of one that does not change.

The course of the learning rate itself is `learning_rate_schedule`'s.

## Why it matters

A warmup of 500 steps that is stepped once an epoch never ends, and nothing fails: the model trains, slowly, at a
hundredth of the intended learning rate. A decay over 10 epochs that is stepped once a batch is over within the first.

## What to try

Give the scheduler the number of times that `step` will really be called, and call it right after `optimizer.step()`:
once a batch for a schedule in steps, once an epoch for one in epochs. Make it with the optimizer that steps. Give
ReduceLROnPlateau mode="max" for a metric that should rise.

## When it is wrong

A number that a function of LambdaLR uses may mean something else than the length of the schedule; where it is no stated
length, the course of the learning rate has to agree. An error rate that is at its best before training has changed
anything, and gets worse while the training loss falls, looks like an accuracy under mode="min". Schedulers that are not
of torch's kind are not seen.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import rate_chart
from gradaudit.evidence.words.plateau_metric import metric_measures, metric_words
from gradaudit.evidence.words.scheduler_units import measures, words
from gradaudit.evidence.words.wording import plural
from gradaudit.findings import Clean, Confidence, Finding, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import SchedulerFacts
from gradaudit.signals.updates.increasing_schedule import HALF, RISEN, rises
from gradaudit.signals.updates.learning_rates import made_with
from gradaudit.signals.updates.plateau_metric import MetricCourse, metric_course
from gradaudit.signals.updates.rate_course import largest_rate
from gradaudit.signals.updates.scheduler_plan import (
    Amounts,
    Mismatch,
    Plan,
    amounts,
    peak_course,
    plans,
)
from gradaudit.training import Training

_EVERY = 0.9  # of the calls: those that follow several steps, or one, each
_REACHED = 0.05  # of the peak: where a schedule is over
_NOTHING = 1e-3  # of the peak: training goes on and learns nothing more
_STAIRS = 5  # calls; the first part of a longer run may well end in its warmup
_FEW = 3  # epochs, and calls
_SOON = 10  # times: a decay that is over in a tenth of the calls was not planned for them
_HALVED = 0.5  # of the learning rate at the first call of a plateau scheduler
_PATIENT = 0.1  # of the peak at the end: a plateau scheduler that was impatient


@dataclass(frozen=True)
class Limits:
    """How far the calls of a scheduler may be from its plan."""

    part: float = 0.5  # of the plan, or of the run: a run may be stopped early or go on for a while, not twice as long
    near: float = 0.02  # of the steps: an epoch's last, smaller batch and the warmup's first call
    often: float = 0.3  # of the calls: one more at the end of each epoch is much less
    errors: float = 4.0  # of the difference of two accuracies: by chance once in 30,000 runs


class Backwards(Judged, frozen=True):
    """A plateau scheduler whose metric gets better in the direction that it takes for worse."""

    course: MetricCourse
    optimizer: int
    span: Span


class Fitting(Judged, frozen=True):
    """Schedulers that are called as they count."""

    schedulers: int
    calls: int


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps.learning_rate",),
    minimum_steps=10,
    explains=("learning_rate_schedule", "learning_rate_too_low", "no_learning", "premature_plateau", "unstable_loss",
              "learning_rate_too_high", "divergence", "loss_spike"),
)  # fmt: skip
def scheduler_units(run: Run, limits: Limits) -> Iterator[Mismatch | Backwards | Fitting | NotApplicable | Skipped]:
    """Hold the calls of each scheduler against its plan and the steps."""
    facts = run.meta.schedules
    if not facts.recorded:
        yield Skipped(reason="calls of schedulers were not recorded", enable="record again with this version")
        return
    own = [one for one in facts.schedulers if not one.nested]
    if not own:
        yield NotApplicable(reason="there is no learning rate scheduler of torch's kind")
        return
    found = [judged for one in own if (judged := _judge(run, one, limits)) is not None]
    yield from found
    if not found:
        yield Fitting(len(own), sum(one.calls for one in own))


def _judge(run: Run, one: SchedulerFacts, limits: Limits) -> Mismatch | Backwards | None:
    training = next((each for each in run.trainings if each.id == one.optimizer), None)
    if _is_idle(one):
        shown = training or max(run.trainings, key=lambda each: len(each.steps))
        return _mismatch(one, shown, "idle", severe=True)
    if training is None or one.shares_groups:
        return None
    if not one.calls:
        epochs, course = amounts(training).epochs, peak_course(training)
        long = epochs >= _FEW if math.isfinite(epochs) else one.steps >= 100
        # Calls inside a compiled function are not seen; what they do to the learning rate is.
        unused = run.state == "finished" and long and bool(len(course)) and bool((course == course[0]).all())
        return _mismatch(one, training, "never") if unused else None
    found = _against_plan(run, one, training, limits) or _calls_alone(run, one, training, limits)
    return found or _backwards(run, one, training, limits)


def _backwards(run: Run, one: SchedulerFacts, training: Training, limits: Limits) -> Backwards | None:
    course = metric_course(run, one, training)
    if course is None or (course.told == "counts" and not course.errors >= limits.errors):
        return None
    steps = training.steps["global_step"]
    return Backwards(course, training.id, Span(first=int(steps.iloc[0]), last=int(steps.iloc[-1])))


def _is_idle(one: SchedulerFacts) -> bool:
    """Whether its optimizer makes no steps, or no longer, while others do."""
    return not one.shares_groups and one.idle_last >= max(_FEW, one.calls / 2)


def _against_plan(run: Run, one: SchedulerFacts, training: Training, limits: Limits) -> Mismatch | None:
    every, each, course = run.meta.schedules.schedulers, amounts(training), peak_course(training)
    in_epochs, in_steps = _once(one.after_more, one), _once(one.after_one, one)
    for plan in plans(one, every):
        done = one.calls / plan.calls
        as_steps, as_batches = _near(plan.calls, one.steps, limits), _near(plan.calls, each.batches, limits)
        late = plan.stated or (len(course) > 0 and course[-1] >= limits.part)
        if done <= limits.part and late and in_epochs and (as_steps or as_batches):
            return _mismatch(one, training, "epochs", plan, severe=True)
        if done <= limits.part and late and in_steps and as_batches and each.batches > one.steps:
            return _mismatch(one, training, "accumulated", plan, severe=True)
        over = plan.stated or _reached(plan, one, training)
        if done * limits.part >= 1 and over and not _cycles(one, plan, each.batches_per_epoch):
            as_epochs = (
                in_steps
                and each.epochs >= _FEW
                and (
                    abs(plan.calls - each.epochs) <= max(1, 0.2 * each.epochs)
                    or (plan.name == "gamma" and done >= (_SOON / 2 if _of_epochs(one, each) else _SOON))
                )
            )
            twice = one.repeated > limits.often * one.calls
            kind = "in_epochs" if as_epochs else "twice" if twice else "early"
            severe = kind != "early" or _idles(plan, one, training)
            return _mismatch(one, training, kind, plan, severe=severe)
    return _in_warmup(run, one, training) if in_epochs and one.calls >= _STAIRS else None


def _of_epochs(one: SchedulerFacts, each: Amounts) -> bool:
    """Whether the size of its stairs fits into the epochs of the run, and into the batches of one epoch."""
    size = one.numbers.get("step_size")
    return size is not None and 1 < size <= min(each.epochs, each.batches_per_epoch / 2)


def _in_warmup(run: Run, one: SchedulerFacts, training: Training) -> Mismatch | None:
    """A warmup that is stepped once an epoch, at the end of a run that was not stopped."""
    rate = largest_rate(training)
    if run.state != "finished" or rate is None or not rises(rate, RISEN):
        return None
    found = _mismatch(one, training, "rising", severe=True)
    return found if found.reached < HALF else None


def _calls_alone(run: Run, one: SchedulerFacts, training: Training, limits: Limits) -> Mismatch | None:
    each, course, patience = amounts(training), peak_course(training), one.numbers.get("patience")
    if one.scheduler_class == "ReduceLROnPlateau" and patience is not None:
        fell = len(course) > 0 and bool(course[-1] <= _PATIENT)
        if _once(one.after_one, one) and each.epochs >= _FEW and patience < each.batches_per_epoch and fell:
            return _mismatch(one, training, "plateau", Plan(patience, "patience", stated=True), severe=True)
        return None
    planned = any(plan.stated for plan in plans(one, run.meta.schedules.schedulers))
    # Accelerate steps a scheduler once for each process.
    if one.repeated > limits.often * one.calls and one.calls >= _STAIRS and not planned and run.meta.world_size == 1:
        return _mismatch(one, training, "unknown")
    # Stepped once a batch, while gradients are accumulated, it comes before the first step by design.
    if one.steps_before == 0 and one.calls >= _FEW and one.repeated <= limits.often * one.calls:
        return _mismatch(one, training, "before")
    return None


def _once(calls: int, one: SchedulerFacts) -> bool:
    """Whether nearly all calls are of this kind; the first one has none before it."""
    return calls >= max(1, _EVERY * (one.calls - 1))


def _near(plan: float, amount: int, limits: Limits) -> bool:
    return abs(plan - amount) <= max(2, limits.near * amount)


def _reached(plan: Plan, one: SchedulerFacts, training: Training) -> bool:
    """Whether the rate is at its end where a number of a function says that it is, and not there before."""
    course = peak_course(training)
    at = round(plan.calls * one.steps / max(1, one.calls))
    if not 0 < at < len(course):
        return False
    risen = int(numpy.argmax(course > _REACHED))  # a warmup may begin at 0
    return bool(course[at] <= _REACHED and numpy.nanmin(course[risen : max(risen + 1, at // 2)]) > _REACHED)


def _idles(plan: Plan, one: SchedulerFacts, training: Training) -> bool:
    """Whether the rate is 0, or next to it, from the end of the schedule on; a decay by gamma is so by its own rule."""
    rest = peak_course(training)[round(plan.calls * one.steps / max(1, one.calls)) + 1 :]
    return plan.name != "gamma" and len(rest) > 0 and bool((rest <= _NOTHING).all())


def _cycles(one: SchedulerFacts, plan: Plan, each: int) -> bool:
    """A cosine that comes up again with each epoch is meant to."""
    return one.scheduler_class == "CosineAnnealingLR" and plan.calls == each


def _mismatch(
    one: SchedulerFacts, training: Training, kind: str, plan: Plan | None = None, severe: bool = False
) -> Mismatch:
    each, steps, rate = amounts(training), training.steps["global_step"], largest_rate(training)
    whole = made_with(training)
    return Mismatch(
        kind=kind,
        scheduler=one.scheduler_class,
        calls=one.calls,
        plan=plan.calls if plan else math.nan,
        number=plan.name if plan else "",
        done=one.calls / plan.calls if plan else math.nan,
        steps=one.steps,
        batches=each.batches,
        epochs=each.epochs,
        repeated=one.repeated / max(1, one.calls),
        longest=one.longest,
        reached=float(rate[-1]) / whole if rate is not None and whole > 0 else math.nan,
        optimizer=training.id,
        severe=severe,
        first_step=int(steps.iloc[0]),
        last_step=int(steps.iloc[-1]),
    )


@scheduler_units.tell
def _fits(found: Fitting) -> Clean:
    return Clean(measured=f"{plural(found.calls, 'call')} of {plural(found.schedulers, 'scheduler')}")


@scheduler_units.tell
def _wrong_way(found: Backwards, run: Run, limits: Limits) -> Finding:
    said = metric_words(found.course)
    return Finding(
        severity=Severity.WARNING if found.course.reached <= _HALVED else Severity.NOTE,
        confidence=Confidence.CERTAIN if found.course.told == "loss" else Confidence.HIGH,
        title=said.title,
        headline=said.headline,
        explanation=said.explanation,
        span=found.span,
        evidence=[rate_chart(run.training(found.optimizer), [])],
        actions=said.actions,
        measures=metric_measures(found.course, limits.errors),
    )


@scheduler_units.tell
def _finding(found: Mismatch, run: Run, limits: Limits) -> Finding:
    said = words(found)
    return Finding(
        severity=Severity.WARNING if found.severe else Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title=said.title,
        headline=said.headline,
        explanation=said.explanation,
        span=Span(first=found.first_step, last=found.last_step),
        evidence=[rate_chart(run.training(found.optimizer), [])],
        actions=said.actions,
        measures=measures(found, limits.part, limits.often),
    )
