"""The learning rate schedule does not fit the run: it decays too early, never ends its warmup, or jumps.

## What it looks for

Four facts about the learning rate; each is a note, except for two cases. It is exactly 0 from before `early` of the run
to its end, and no parameter changes, whatever the loss does. It decayed to `collapsed` of its peak or less before
`early` of the run was over, and the loss, which had been falling up to then, gained less than `gain` of its first value
afterwards, or stopped there as `premature_plateau` tells, which is a warning: the usual cause is a schedule counted in
epochs and stepped once a batch. It rose over the whole run by more than `risen` times and was still rising at the end:
the warmup never ended. That is a warning, too, where the rate changed between epochs only, over at least `stairs`
epochs, and did not reach half the learning rate that the optimizer was made with: a schedule counted in steps and
stepped once an epoch. Or the rate of a parameter group jumped to more than `risen` times within one step, and the loss
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

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart, rate_chart
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.schedules import fall_in_words, falling_until, hold
from gradaudit.evidence.words.wording import count, factor, number, percent, plural, setting, times
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    CouldNotLook,
    Finding,
    Mark,
    Measure,
    Severity,
    Span,
    Verdict,
    ratio,
)
from gradaudit.signals.loss.plateaus import FLAT, Starved, cut_short
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, median
from gradaudit.signals.updates.learning_rates import BLIP, at_most, sustained
from gradaudit.signals.updates.rising_rate import once_an_epoch, rises, rising_rate
from gradaudit.training import Training

_FADED = 0.1  # of the peak: a schedule that fades to 0 was lower before
_HALF = 0.5  # of the optimizer's own rate
_SHOWN = 1e-3  # of the peak: a smaller share reads better as 1/100,000
_AROUND = 10  # steps before and after a jump whose losses are compared
_DRIVEN_UP = [
    "learning_rate_too_high",
    "loss_spike",
    "unstable_loss",
    "divergence",
    "premature_plateau",
    "gradient_growth",
    "dead_relu",
]
_ERRORS = 3.0  # standard errors: what chance does to two times ten batches


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps.learning_rate",),
    minimum_steps=100,
    explains=(
        "learning_rate_too_low",
        "learning_rate_too_high",
        "loss_spike",
        "unstable_loss",
        "divergence",
        "premature_plateau",
        "gradient_growth",
        "dead_relu",
    ),
)
def learning_rate_schedule(
    training: Training,
    *,
    collapsed: float = 0.01,  # gradsnitch's; a cosine gets there at 94 % of the run, a linear decay at 99 %
    early: float = 0.8,  # gradsnitch's
    gain: float = 0.02,  # of the first loss: no progress, as elsewhere
    risen: float = 3.0,  # times; a rate that grows by less is no warmup, and no restart
    stairs: float = 5,  # epochs; the first part of a longer run may well end in its warmup
) -> Iterator[Verdict]:
    """Look where the learning rate peaks, where it has decayed, and where it jumps."""
    rates = training.learning_rates
    rate = numpy.where(numpy.isfinite(rates), rates, -numpy.inf).max(axis=1, initial=-numpy.inf)
    rate = numpy.where(rate >= 0, rate, numpy.nan)
    if not numpy.isfinite(rate).all() or not len(rate) or rate.max() <= 0:
        yield CouldNotLook(
            reason="the learning rate is not known at every step, or 0 throughout",
            enable="keep it as a number in optimizer.param_groups",
        )
        return
    loss = training_loss(training)
    peak = int(numpy.argmax(rate))
    held = sustained(rate, risen)
    gone = at_most(held, collapsed, held.max())
    low = numpy.flatnonzero(gone & (numpy.arange(len(rate)) > numpy.argmax(held)))
    fallen = int(low[0]) if len(low) and gone[low[0] :].all() else len(rate)
    before, after = _progress(loss, fallen)
    stopped = cut_short(training, spent=collapsed)
    slowed = not loss.shapeless and (before > gain > after or stopped is not None)
    idle = _idle(training, rate)
    if fallen < early * len(rate) and slowed:
        yield _collapse(training, held, fallen, before, after, collapsed, early, gain, stopped)
    elif idle < early * len(rate):
        yield _collapse(training, rate, idle, math.nan, math.nan, collapsed, early, gain, None)
    elif rises(rate, risen):
        yield _endless(training, rate, risen, stairs)
    elif harmful := [] if loss.shapeless else _harmful_jumps(rates, loss, risen, gain):
        yield _restarts(training, rates, rate, harmful, risen, gain)
    else:
        which = "the learning rate" if rates.shape[1] == 1 else "the largest learning rate of all groups"
        yield Clean(measured=f"{which} {_course(rate, peak)}")


def _course(rate: Floats, peak: int) -> str:
    """What the learning rate does over the run, after "the learning rate"."""
    start, top, end = (setting(float(value)) for value in (rate[0], rate[peak], rate[-1]))
    if rate.min() == rate.max():
        return f"is {start} at every step"
    if start == top:
        return f"starts at {start}, its highest, and ends at {end}"
    return f"starts at {start}, is highest at step {count(peak)} with {top}, and ends at {end}"


def _idle(training: Training, rate: Floats) -> int:
    """The step from which on every rate is exactly 0 and nothing is seen to move; the length of the run if none."""
    at = int(numpy.flatnonzero(rate)[-1]) + 1
    if at < len(rate) and training.run.has("tensors.update_norm"):
        since = training.recorded >= training.steps["step"].to_numpy()[at]
        # Some optimizers step without a learning rate.
        if (training.matrix("update_norm")[since] > 0).any():
            return len(rate)
    return at


def _progress(loss: TrainingLoss, at: int) -> tuple[float, float]:
    """The share of the first loss gained over the stretch before step `at`, and over all that follows it."""
    width = max(5, min(at, len(loss.values) - at) // 10)
    if at <= 2 * width or at + 2 * width > len(loss.values) or not loss.first > 0:
        return float("nan"), float("nan")
    # The stretch before is half of what came before, so that the fall of the first steps does not count.
    start = median(loss.values[at // 2 : at // 2 + width])
    reached = median(loss.values[at - width : at])
    return (start - reached) / loss.first, (reached - median(loss.values[-width:])) / loss.first


def _jumps(rates: Floats, risen: float) -> list[int]:
    """The steps at which the rate of a group is more than `risen` times that of the step before."""
    with numpy.errstate(divide="ignore", invalid="ignore"):
        jumped = ((rates[1:] > risen * rates[:-1]) & (rates[:-1] > 0)).any(axis=1)
    return (numpy.flatnonzero(jumped) + 1).tolist()


def _back(rate: Floats, at: int, risen: float) -> int | None:
    """The step, within a few of a jump at step `at`, from which a rate is near that before it; None where it stays."""
    after = rate[at + 1 : at + 1 + BLIP]
    low = numpy.flatnonzero(after * risen < rate[at])
    return at + 1 + int(low[0]) if len(low) else None


def _harmful_jumps(rates: Floats, loss: TrainingLoss, risen: float, gain: float) -> list[tuple[int, float]]:
    """(step, rise of the loss as a share of its first value) of each jump of a group's rate that raised the loss."""
    found = []
    for at in _jumps(rates, risen):
        # The steps before are compared with those right after, since a model may recover from its restart.
        before, after = loss.values[max(0, at - _AROUND) : at], loss.values[at + 1 : at + 1 + _AROUND]
        if at >= _AROUND and len(after) and loss.first > 0:
            rise = (median(after) - median(before)) / loss.first
            noise = math.hypot(before.std(), after.std()) / math.sqrt(_AROUND) / loss.first
            if rise > max(gain, _ERRORS * noise) or (numpy.isfinite(before).all() and not numpy.isfinite(after).all()):
                found.append((at, rise))
    return found


def _down_to(rate: Floats, fallen: int, step: int) -> str:
    """What a rate has done since its peak, after "the learning rate"; a share below a millionth is as good as 0."""
    if not rate[fallen]:
        return f"is 0 from step {count(step)} on"
    share = _share_of_peak(rate, fallen)
    if share <= 1e-6:
        return f"falls to {setting(float(rate[fallen]))} by step {count(step)}"
    left = percent(share) if share >= _SHOWN else f"1/{count(1 / share)}"
    return f"falls to {left} of its peak by step {count(step)}"


def _share_of_peak(rate: Floats, fallen: int) -> float:
    """Rates are kept as float32: a hundredth of one is seldom exactly that."""
    return float(f"{rate[fallen] / rate.max():.5g}")


def _at_once(rate: Floats, fallen: int) -> bool:
    return bool(rate[fallen] == 0 and rate[fallen - 1] > _FADED * rate.max())


def _collapse(
    training: Training, rate: Floats, fallen: int, before: float, after: float, collapsed: float, early: float,
    gain: float, stopped: Starved | None,
) -> Finding:  # fmt: skip
    steps = training.steps["global_step"].to_numpy()
    at, rest = int(steps[fallen]), 1 - fallen / len(rate)
    idle = math.isnan(before) and stopped is None
    mark = [Mark(label=f"step {count(at)}", x=at)]
    return Finding(
        # What stopped the loss is no less than the plateau that `premature_plateau` warns of.
        severity=Severity.WARNING if stopped else Severity.NOTE,
        confidence=Confidence.CERTAIN if idle else Confidence.HIGH if stopped else Confidence.MEDIUM,
        title="Learning rate decayed too early" if rate[fallen] else f"Learning rate is 0 from step {count(at)}",
        headline=f"The learning rate {_down_to(rate, fallen, at)}, with {percent(rest)} of the run to go",
        seen=f"It falls from {setting(rate.max())} to {setting(rate[fallen])}. "
        + (
            fall_in_words(training, stopped)
            if stopped
            else f"The last {plural(len(rate) - fallen, 'step')} change no parameter."
            if idle
            else f"From step {count(steps[fallen // 2])} to step {count(at)} the loss fell by {percent(before)} of its "
            f"first value. From there to the end it has {'fallen' if after > 0 else 'risen'} by {percent(abs(after))}."
        ),
        span=Span(first=at, last=int(steps[-1])),
        led_to=["premature_plateau"] if stopped else [],
        evidence=[
            rate_chart(training, mark),
            loss_chart(training, "The training loss: from the mark on only the batches differ." if idle else
                       "The training loss: it stops falling with the learning rate.", mark),
        ],
        actions=[
            *([Action(text=f"Check the factor of the scheduler, its gamma: one step of it takes the learning rate from "
                      f"{setting(rate[fallen - 1])} to 0")] if fallen and _at_once(rate, fallen) else []),
            Action(text=f"Stretch the schedule over {count(len(rate))} steps, the length of the run, when stepped "
                   "once a batch",
                   code=f"torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max={len(rate)})"),
            Action(text="If its numbers are meant as epochs, call scheduler.step() once an epoch"),
        ],
        measures=[
            Measure(quantity="learning rate / peak", value=_share_of_peak(rate, fallen), comparison="<=",
                    threshold=collapsed, option="collapsed"),
            Measure(quantity="share of the run by then", value=1 - rest, comparison="<", threshold=early,
                    unit="fraction", option="early"),
            *([] if idle else _since(training_loss(training), fallen, before, after, gain, stopped)),
        ],
    )  # fmt: skip


def _since(
    loss: TrainingLoss, fallen: int, before: float, after: float, gain: float, stopped: Starved | None
) -> list[Measure]:
    """How the loss fell before the learning rate had decayed, and how little since."""
    if stopped:
        middle = loss.steps[(fallen + len(loss.values)) // 2]
        return [
            *falling_until(stopped),
            Measure(quantity=f"fall since, before step {count(middle)} to after it, of the first loss",
                    value=stopped.after, comparison="<", threshold=FLAT, unit="fraction"),
        ]  # fmt: skip
    first, at = count(loss.steps[fallen // 2]), count(loss.steps[fallen])
    return [
        Measure(quantity=f"fall from step {first} to step {at}, of the first loss", value=before, comparison=">",
                threshold=gain, unit="fraction", option="gain"),
        Measure(quantity="fall from there to the end, of the first loss", value=after, comparison="<",
                threshold=gain, unit="fraction", option="gain"),
    ]  # fmt: skip


def _made_with(training: Training) -> float:
    """The learning rate that the optimizer was made with, on which schedules build; NaN where it is not known."""
    facts = training.optimizer
    value = facts.defaults.get("lr") if facts else None
    return float(value) if isinstance(value, int | float) else math.nan


def _in_epochs(training: Training, rate: Floats, stairs: float) -> str:
    """What tells that the schedule was meant to be stepped once a batch, in a sentence; empty where nothing does."""
    changes, whole = once_an_epoch(training, rate), _made_with(training)
    # A run that was stopped may have been stopped in its warmup, and a short one ends near the end of it.
    if changes + 1 < stairs or not rate[-1] < _HALF * whole or training.run.state != "finished":
        return ""
    return (
        f"It changes {plural(changes, 'time')}, only between epochs, and ends at {percent(rate[-1] / whole)} of "
        f"{setting(whole)}, the learning rate that the optimizer was made with. So scheduler.step() is called once an "
        "epoch, and the warmup is counted in steps."
    )


def _endless(training: Training, rate: Floats, risen: float, stairs: float) -> Finding:
    loss = training_loss(training)
    meant = _in_epochs(training, rate, stairs)
    harm = rising_rate(training, risen)
    marks = [Mark(label=f"step {count(harm.since)}", x=harm.since)] if harm else []
    ends = "NaN or infinity" if not math.isfinite(loss.last) else number(loss.last)
    seen = f"It never falls in {count(len(rate))} steps and is highest at the last."
    # A step that was to be a division: then a warmup of another length fixes nothing.
    turned = Action(text="If it was meant to decay, invert the schedule: the factor of a decay is below 1")
    return Finding(
        severity=Severity.WARNING if meant else Severity.NOTE,
        confidence=Confidence.HIGH if harm or meant else Confidence.MEDIUM,
        title="Learning rate keeps rising"
        if harm
        else "Scheduler stepped once an epoch"
        if meant
        else "Warmup never ends",
        headline=f"The learning rate rises to the end, from {setting(rate[0])} to {setting(rate[-1])}"
        + (
            f", and from step {count(harm.since)} so does the loss"
            if harm
            else ", in a warmup stepped once an epoch"
            if meant
            else ""
        ),
        seen=seen
        + (
            f" Up to step {count(harm.since)}, at a rate of {rate_in_words(harm.rates)}, the loss falls from "
            f"{number(loss.first)} to {number(harm.lowest)} (median of a tenth of the run). It ends at {ends} "
            "(mean of the last 10 %)."
            if harm
            else f" {meant}"
            if meant
            else " Either the warmup is longer than the run, or the schedule grows where it is meant to decay."
        ),
        span=Span(first=harm.risen if harm else int(loss.steps[0]), last=int(loss.steps[-1])),
        led_to=_DRIVEN_UP if harm else [],
        evidence=[
            rate_chart(training, marks),
            *([loss_chart(training, "The training loss; up to the mark it was lowest.", marks)] if harm else []),
        ],
        actions=[
            *([Action(text="Call scheduler.step() once a batch, after optimizer.step()",
                      code="optimizer.step()\nscheduler.step()")] if meant else []),
            hold(training, harm)
            if harm
            else Action(
                text=f"Warm up over 5 % of the run, {count(max(1, len(rate) / 20))} steps, and let it decay after"
            ),
            turned,
            *([] if meant else
              [Action(text="If its numbers are meant as batches, call scheduler.step() once a batch")]),
        ],
        measures=[
            ratio(("last learning rate", float(rate[-1])), ("first", float(rate[0])), ">", risen, option="risen"),
            Measure(quantity="changes between epochs, and none within", value=once_an_epoch(training, rate),
                    comparison=">=", threshold=stairs - 1, unit="count", option="stairs", decides="warning"),
            ratio(("last learning rate", float(rate[-1])), ("that it was made with", _made_with(training)), "<",
                  _HALF, decides="warning"),
        ],
    )  # fmt: skip


def _stays_up(loss: TrainingLoss, jump: int) -> bool:
    """Whether the loss never came back to where it was before the jump at this global step."""
    before, after = loss.values[loss.steps < jump][-_AROUND:], loss.values[loss.steps >= jump][_AROUND:]
    if not len(before) or not len(after):
        return True
    medians = [float(numpy.median(after[i : i + _AROUND])) for i in range(0, len(after), _AROUND)]
    return not min(medians) <= float(numpy.median(before))


def _restarts(
    training: Training, rates: Floats, rate: Floats, harmful: list[tuple[int, float]], risen: float, gain: float
) -> Finding:
    steps = training.steps["global_step"].to_numpy()
    at, rise = max(harmful, key=lambda one: numpy.nan_to_num(one[1], nan=numpy.inf))
    ratios = rates[at] / numpy.where(rates[at - 1] > 0, rates[at - 1], numpy.nan)
    group = int(numpy.nanargmax(ratios))
    jump, old, new = (float(values[group]) for values in (ratios, rates[at - 1], rates[at]))
    # Where one jump is known to do harm, those before it count, too: the first has no steps before it to compare with.
    jumps = _jumps(rates, risen)
    first, last = int(steps[jumps[0]]), int(steps[harmful[-1][0]])
    loss = training_loss(training)
    if _stays_up(loss, steps[at]):
        last = int(loss.steps[-1])
    where = f"step {count(first)}" if len(jumps) == 1 else f"{count(len(jumps))} steps from step {count(first)}"
    marks = [Mark(label=f"step {count(steps[each])}", x=int(steps[each])) for each in jumps[:5]]
    rose = f"rises by {percent(rise)} of its first value" if numpy.isfinite(rise) else "becomes NaN or infinite"
    back = _back(rates[:, group], at, risen)
    for_once = back is not None and len(jumps) == 1
    fix = [
        Action(text=f"Restart at {setting(old * risen)} or less, {factor(risen)}-fold at most"),
        Action(text="Let the rate rise over 50 steps after a restart, as in a warmup"),
    ]
    if for_once:
        fix = [
            Action(text=f"Find what sets the learning rate to {setting(new)} at step {count(steps[at])}: at step "
                   f"{count(int(steps[back]))} it is {setting(float(rates[back, group]))} again, so it is no restart"),
            Action(text="Print the learning rate around that step",
                   code="print(step, [group['lr'] for group in optimizer.param_groups])"),
        ]  # fmt: skip
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title=f"Learning rate jump at step {count(first)}" if for_once else "Learning rate restart too high",
        headline=f"The learning rate jumps {times(jump)}-fold at {where}, and the loss {rose}",
        seen=f"At step {count(steps[at])} the learning rate of a parameter group goes from {setting(old)} to "
        f"{setting(new)} within one step"
        + (f", and back by step {count(int(steps[back]))}" if for_once else "")
        + f". From the {_AROUND} steps before to the {_AROUND} after, the median loss {rose}.",
        span=Span(first=first, last=last),
        led_to=_DRIVEN_UP,
        evidence=[
            rate_chart(training, marks),
            loss_chart(training, "The training loss: it rises where the learning rate jumps.", marks),
        ],
        actions=fix,
        measures=[
            Measure(quantity="learning rate / that of the step before", value=jump, comparison=">",
                    threshold=risen, option="risen"),
            Measure(quantity="rise of the loss, of its first value", value=rise, comparison=">", threshold=gain,
                    unit="fraction", option="gain"),
        ],
    )  # fmt: skip
