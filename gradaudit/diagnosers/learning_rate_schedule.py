"""The learning rate's schedule does not fit the length of the run.

## What it looks for

Three facts about the learning rate, each a note. It fell to `collapsed` of its peak or less before `early` of the run
was over, and the loss, which had been falling up to then, gained less than `gain` of its first value afterwards: the
usual cause is a schedule counted in epochs and stepped once a batch. It rose over the whole run by more than `risen`
times and was highest at the end: the warmup never ended. Or the rate of a parameter group jumped to more than `risen`
times within one step, and the loss rose there by more than `gain` of its first value. The first two look at the largest
rate over the groups. Constant rates, long warmups and restarts that do no harm are not reported.

## Why it matters

Steps at a hundredth of the learning rate cost as much as the others and change next to nothing. A warmup that never
ends has not trained at the rate that was meant. A restart that is too high throws away what was learned before it.

## What to try

Give the scheduler the number of steps that it will really be stepped, `epochs * len(loader)` when it is stepped once a
batch, and print the learning rate at the start, the middle and the end. Let the rate rise over some steps after a
restart, to a lower peak than the last one.

## When it is wrong

A model that has converged gains nothing more at any rate; ReduceLROnPlateau lowers the rate because of that, and only
a fall of the loss right before the drop tells the two apart. The first part of a longer run may well end in its warmup.
Warm restarts are meant to raise the loss for a while; whether it was worth it shows at the end.
"""

import math
from collections.abc import Iterator

import numpy

from gradaudit.derived.each_optimizer import each_optimizer
from gradaudit.derived.evidence import loss_chart, rate_chart
from gradaudit.derived.learning_rates import label_of, learning_rates
from gradaudit.derived.order_statistics import Floats, median
from gradaudit.derived.training_loss import TrainingLoss, training_loss
from gradaudit.derived.wording import count, factor, number, percent, setting
from gradaudit.diagnoser import diagnoser
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
)
from gradaudit.run import Run

_AROUND = 10  # steps before and after a jump whose losses are compared
_ERRORS = 3.0  # standard errors: what chance does to two times ten batches


@diagnoser(
    worst=Severity.NOTE,
    needs=("steps.learning_rate",),
    minimum_steps=100,
    explains=(
        "learning_rate_too_low",
        "learning_rate_too_high",
        "loss_spike",
        "unstable_loss",
        "divergence",
        "premature_plateau",
    ),
)
def learning_rate_schedule(
    run: Run,
    *,
    collapsed: float = 0.01,  # gradsnitch's; a cosine gets there at 94 % of the run, a linear decay at 99 %
    early: float = 0.8,  # gradsnitch's
    gain: float = 0.02,  # of the first loss: no progress, as elsewhere
    risen: float = 3.0,  # times; a rate that grows by less is no warmup, and no restart
) -> Iterator[Verdict]:
    """Look where the learning rate peaks and where it has gone."""

    def judge(optimizer: int) -> Iterator[Verdict]:
        rates = learning_rates(run, optimizer)
        rate = numpy.where(numpy.isfinite(rates), rates, -numpy.inf).max(axis=1, initial=-numpy.inf)
        rate = numpy.where(rate >= 0, rate, numpy.nan)
        if not numpy.isfinite(rate).all() or not len(rate) or rate.max() <= 0:
            yield CouldNotLook(
                reason="the learning rate is not known at every step, or 0 throughout",
                enable="keep it as a number in optimizer.param_groups",
            )
            return
        loss = training_loss(run, optimizer)
        peak = int(numpy.argmax(rate))
        low = numpy.flatnonzero((rate <= collapsed * rate[peak]) & (numpy.arange(len(rate)) > peak))
        fallen = int(low[0]) if len(low) and (rate[low[0] :] <= collapsed * rate[peak]).all() else len(rate)
        rising = peak >= 0.95 * (len(rate) - 1) and rate[-1] > risen * rate[0] and (numpy.diff(rate) >= 0).all()
        before, after = _progress(loss, fallen)
        if fallen < early * len(rate) and not loss.unjudged and before > gain > after:
            yield _collapse(run, optimizer, rate, fallen, before, after, collapsed, early, gain)
        elif rising:
            yield _endless(run, optimizer, rate, risen)
        elif harmful := [] if loss.unjudged else _harmful_jumps(rates, loss, risen, gain):
            yield _restarts(run, optimizer, rates, rate, harmful, risen, gain)
        else:
            yield Clean(measured=f"the learning rate {_course(rate, peak)}{label_of(run, optimizer)}")

    yield from each_optimizer(run, judge)


def _course(rate: Floats, peak: int) -> str:
    """What the learning rate does over the run, after "the learning rate"."""
    start, top, end = (setting(value) for value in (rate[0], rate[peak], rate[-1]))
    if rate.min() == rate.max():
        return f"is {start} at every step"
    if start == top:
        return f"starts at {start}, its highest, and ends at {end}"
    return f"starts at {start}, is highest at step {count(peak)} with {top}, and ends at {end}"


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


def _collapse(
    run: Run, optimizer: int, rate: Floats, fallen: int, before: float, after: float, collapsed: float, early: float,
    gain: float,
) -> Finding:  # fmt: skip
    steps = run.steps_of(optimizer)["global_step"].to_numpy()
    at, rest = int(steps[fallen]), 1 - fallen / len(rate)
    mark = [Mark(label=f"step {count(at)}", x=at)]
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        headline=f"The learning rate is down to 1/{count(rate.max() / max(rate[fallen], rate.max() * 1e-9))} of its "
        f"peak at step {count(at)}, with {percent(rest)} of the run to go" + label_of(run, optimizer),
        seen=f"It goes from {setting(rate.max())} to {setting(rate[fallen])}. Until then the loss was falling, by "
        f"{percent(before)} of its first value over the half before; since then it has "
        f"{'fallen' if after > 0 else 'risen'} by {percent(abs(after))}.",
        span=Span(first=at, last=int(steps[-1])),
        evidence=[
            rate_chart(run, optimizer, mark),
            loss_chart(run, optimizer, "The training loss: it stops falling with the learning rate.", mark),
        ],
        actions=[
            Action(text=f"Stretch the schedule over {count(len(rate))} steps, the length of the run, when stepped "
                   "once a batch",
                   code=f"torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max={len(rate)})"),
            Action(text="If its numbers are meant as epochs, call scheduler.step() once an epoch"),
        ],
        measures=[
            Measure(quantity="learning rate / peak", observed=number(rate[fallen] / rate.max()),
                    threshold=f"<= {setting(collapsed)}", option="collapsed"),
            Measure(quantity="share of the run by then", observed=percent(1 - rest), threshold=f"< {percent(early)}",
                    option="early"),
            Measure(quantity="gain since, of the first loss", observed=percent(after), threshold=f"< {percent(gain)}",
                    option="gain"),
        ],
    )  # fmt: skip


def _endless(run: Run, optimizer: int, rate: Floats, risen: float) -> Finding:
    steps = run.steps_of(optimizer)["global_step"].to_numpy()
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        headline=f"The learning rate rises to the last step, from {setting(rate[0])} to {setting(rate[-1])}"
        + label_of(run, optimizer),
        seen=f"It never falls in {count(len(rate))} steps and is highest at the last: a warmup that is longer than the "
        "run, or a schedule of the wrong sign.",
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        evidence=[rate_chart(run, optimizer, [])],
        actions=[
            Action(text=f"Warm up over 5 % of the run, {count(max(1, len(rate) / 20))} steps, and let it decay after"),
            Action(text="If its numbers are meant as batches, call scheduler.step() once a batch"),
        ],
        measures=[
            Measure(quantity="last learning rate / first",
                    observed=factor(rate[-1] / rate[0]) if rate[0] > 0 else "infinity",
                    threshold=f"> {setting(risen)}", option="risen"),
        ],
    )  # fmt: skip


def _restarts(
    run: Run, optimizer: int, rates: Floats, rate: Floats, harmful: list[tuple[int, float]], risen: float, gain: float
) -> Finding:
    steps = run.steps_of(optimizer)["global_step"].to_numpy()
    at, rise = max(harmful, key=lambda jump: numpy.nan_to_num(jump[1], nan=numpy.inf))
    ratios = rates[at] / numpy.where(rates[at - 1] > 0, rates[at - 1], numpy.nan)
    group = int(numpy.nanargmax(ratios))
    times, old, new = (float(values[group]) for values in (ratios, rates[at - 1], rates[at]))
    # Where one jump is known to do harm, those before it count, too: the first has no steps before it to compare with.
    jumps = _jumps(rates, risen)
    first, last = int(steps[jumps[0]]), int(steps[harmful[-1][0]])
    where = f"step {count(first)}" if len(jumps) == 1 else f"{count(len(jumps))} steps from {count(first)} on"
    marks = [Mark(label=f"step {count(steps[jump])}", x=int(steps[jump])) for jump in jumps[:5]]
    rose = f"rises by {percent(rise)} of its first value" if numpy.isfinite(rise) else "is not finite any more"
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.CERTAIN,
        headline=f"The learning rate jumps to {factor(times)} times the one before at {where}, and the loss {rose}"
        + label_of(run, optimizer),
        seen=f"At step {count(steps[at])} a parameter group goes from {setting(old)} to "
        f"{setting(new)} within one step. The median loss of the {_AROUND} steps after it "
        f"{rose}, compared with the {_AROUND} before.",
        span=Span(first=first, last=last),
        evidence=[
            rate_chart(run, optimizer, marks),
            loss_chart(run, optimizer, "The training loss: it rises where the learning rate jumps.", marks),
        ],
        actions=[
            Action(text=f"Restart at {setting(old * risen)} or less, {factor(risen)}-fold at most"),
            Action(text="Let the rate rise over 50 steps after a restart, as in a warmup"),
        ],
        measures=[
            Measure(quantity="learning rate over that of the step before", observed=factor(times),
                    threshold=f"> {setting(risen)}", option="risen"),
            Measure(quantity="rise of the loss, of its first value", observed=percent(rise),
                    threshold=f"> {percent(gain)}", option="gain"),
        ],
    )  # fmt: skip
