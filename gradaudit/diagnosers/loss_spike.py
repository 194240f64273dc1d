"""Loss spikes: the loss jumps far above its trend and recovers.

## What it looks for

The running median of the loss over five steps (as many as cover 32 targets) against its trend, the median of the
`window` steps before. A spike is higher than `times` the trend, by more than `deviations` of the usual scatter from
batch to batch and by more than `share` of the first loss; it starts after the first tenth of the run and falls back
below that height. It is a note, or a warning when the spike rises by `undone` or more of what the trend had gained from
the first steps, their median, and that was 10 % of it or more. Spikes at more than 5 % of the steps, or 20 % if they
are one or two, are ordinary for that loss, and not reported. The median finds a spike; the steps and the height in the
finding are those of the losses themselves. Three or more at equal distances are periodic, and a note: something in the
script happens there. Where every step around the highest spike has its statistics, the finding says which left its
usual range first: the updates, over the learning rate, the gradient norm or the loss.

## Why it matters

A spike of several steps is a step that went wrong: a bad batch, a learning rate at its limit, a moment estimate of Adam
that was too small. Each costs the steps that the loss takes to recover, and it may not recover from the next.

## What to try

Updates that grow before the gradient does come from stale moments; a gradient that rises with the loss, or before
it, comes from a batch unlike the others. Look at the batches just before the spike. Clip the gradient norm at its 90th
percentile. Under Adam, lower beta2 (0.95) or the learning rate.

## When it is wrong

A warm restart of the learning rate raises the loss on purpose, and so does a new phase with harder data. Losses whose
targets move, as in reinforcement learning, jump at each update of a target network, and are left out.
"""

import math
from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.spikes import zoomed
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.spikes import order_in_words
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, factor, literal, number, percent, plural
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
from gradaudit.signals.loss.first_crossings import Crossings, first_crossings
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.progress import smoothing_window
from gradaudit.signals.loss.spikes import rate_jump, raw_spikes
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, Integers, median, quantile, running_median
from gradaudit.training import Training

_OFTEN = 0.05  # of the steps: many spikes are how the loss is
_GAIN = 0.1  # of the median of the first steps; of less, any spike undoes most
_LONG = 0.2  # of the steps; one or two that take long to come back are no habit: faulty runs took 22 of 300, 25 of 200
_REGULAR, _FEWEST = 0.1, 3  # spikes whose distances differ by less than a tenth of their mean, and how many those are


@diagnoser(per="training", worst=Severity.WARNING, needs=("steps",), minimum_steps=100)
def loss_spike(
    training: Training,
    *,
    times: float = 1.5,  # runmedic's factor over the trend
    deviations: float = 8.0,  # runmedic's robust z; faulty runs start at 11
    share: float = 0.1,  # of the first loss; faulty runs start at 0.16
    undone: float = 0.8,  # of the gain; no healthy run has a spike, faulty ones reach 1.1 to 3.4
    window: float = 50,  # steps; long against a spike, short against a run
) -> Iterator[Verdict]:
    """Look for stretches of steps at which the loss stands far above the steps before."""
    loss = training_loss(training)
    if loss.shapeless:
        yield NotApplicable(reason=unclear_in_words(loss.shapeless))
        return
    smooth = running_median(loss.values, smoothing_window(loss))
    trend, scatter = _trend(loss.values, int(window))
    with numpy.errstate(invalid="ignore"):
        above = smooth - trend
        high = (smooth > times * trend) & (above > deviations * scatter) & (above > share * abs(loss.first))
    high[: max(int(window) // 2, len(high) // 10)] = False
    starts = numpy.flatnonzero(high & ~numpy.concatenate([[False], high[:-1]]))
    # The trend catches up with a loss that stays up: it has to come back below where the trend was before.
    back = len(starts) and bool((smooth[starts[-1] :] < times * trend[starts[-1]]).any())
    diverged = diverges(training) is not None
    if not len(starts) or not back or diverged or high.mean() > (_LONG if len(starts) <= 2 else _OFTEN) or high[-1]:
        yield Clean(
            measured=(
                f"no spike that the loss recovers from in {plural(len(smooth), 'step')}"
                if diverged or not back or not len(starts)
                else f"the loss is up more often than a spike is, {plural(len(starts), 'time')} in "
                f"{plural(len(smooth), 'step')} and at {percent(float(high.mean()))} of them"
            )
        )
        return
    worst = int(numpy.argmax(numpy.where(high, above, -numpy.inf)))
    # The first loss is one batch's, and may be far off.
    start = median(loss.values[: smoothing_window(loss)])
    gained = start - float(trend[worst])
    lost = float(above[worst]) / gained if gained >= _GAIN * abs(start) and gained > 0 else 0.0
    part = "all" if lost >= 1 else percent(lost)
    window_of_median = smoothing_window(loss)
    spikes = raw_spikes(loss.values, high, times * trend, worst, window_of_median)
    top, raw, usual = spikes.top, spikes.steps, float(trend[worst])
    norms = training.steps["gradient_norm"].to_numpy(dtype=float)
    rates, jump = training.learning_rates, rate_jump(training, spikes.first)
    order = first_crossings(training, loss, spikes)
    marks = [Mark(label=f"step {count(loss.steps[top])}", x=int(loss.steps[top]))]
    several = " around the highest of them" if len(starts) > 1 else ""
    every = _period(starts)
    around = spikes.around(len(loss.values))
    yield Finding(
        severity=Severity.WARNING if lost >= undone and not every else Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title=f"Loss spike every {plural(every, 'step')}"
        if every
        else f"Loss spikes from step {count(loss.steps[raw[0]])}"
        if len(starts) > 1
        else f"Loss spike at step {count(loss.steps[top])}",
        headline=f"The loss jumps to {factor(loss.values[top] / usual)} times its trend "
        + (
            f"about every {plural(every, 'step')}, {plural(len(starts), 'time')} in all"
            if every
            else f"at step {count(loss.steps[top])} and recovers"
            + (f", the highest of {count(len(starts))} spikes" if len(starts) > 1 else "")
        ),
        explanation=f"{plural(len(starts), 'spike')} of {plural(len(raw), 'step')} in all, the first at step "
        f"{count(loss.steps[raw[0]])}. The highest loss of a step is {number(float(loss.values[top]))}, from a "
        f"trend of {number(usual)}, at a learning rate of {rate_in_words(rates[top])}."
        + (_of_the_rate(loss, rates, jump) or ("" if every else f" {order_in_words(training, loss, order)}"))
        + (" The spikes are periodic: something that the script does at these steps raises the loss." if every else "")
        + (f" The spike undoes {part} of the improvement since the first steps." if lost >= undone else ""),
        span=Span(first=int(loss.steps[raw[0]]), last=int(loss.steps[raw[-1]])),
        evidence=[
            zoomed(
                loss.name, "Training loss", "loss", loss.steps, loss.values, around, marks,
                f"The loss of each step{several}; the mark is the spike's highest step.",
            ),
            zoomed(
                "gradient norm", "Gradient norm", "gradient norm before clipping", loss.steps, norms, around, marks,
                f"The gradient norm of the same steps{several}, where it was recorded; the mark is the spike's "
                "highest step. A norm that rises before the loss is its cause, one that rises after it the "
                "consequence.",
            ),
        ],
        actions=_of_the_script(every)
        if every and jump is None
        else _actions(loss, rates, jump, spikes.first, float(quantile(norms.reshape(-1, 1), 0.9)[0]), order),
        measures=[
            ratio((f"loss, median of {count(window_of_median)} steps", float(smooth[worst])), ("trend", usual), ">",
                  times, option="times"),
            ratio(("height of that median", float(above[worst])), ("scatter", float(scatter[worst])), ">",
                  deviations, option="deviations"),
            ratio(("height of that median", float(above[worst])), ("first loss", abs(loss.first)), ">", share,
                  unit="fraction", option="share"),
            ratio(("gain so far", gained), ("start", abs(start)), ">=", _GAIN, unit="fraction", decides="warning"),
            *([] if not lost else [
                Measure(quantity="height of that median / gain so far", value=lost, comparison=">=",
                        threshold=undone, unit="fraction", option="undone", decides="warning")]),
        ],
    )  # fmt: skip


def _period(starts: Integers) -> float:
    """The steps between spikes at equal distances; 0 where they are too few, or come as they like."""
    apart = numpy.diff(starts)
    return float(apart.mean()) if len(starts) >= _FEWEST and apart.std() < _REGULAR * apart.mean() else 0.0


def _of_the_script(every: float) -> list[Action]:
    """What to look at where spikes come at equal distances."""
    return [
        Action(
            text=f"Find what the script does every {plural(every, 'step')}: the update of a target network, a small "
            "last batch of an epoch, a schedule that restarts"
        ),
        Action(
            text="If it is a small last batch, leave it out", code="DataLoader(dataset, batch_size, drop_last=True)"
        ),
    ]


def _of_the_rate(loss: TrainingLoss, rates: Floats, jump: int | None) -> str:
    if jump is None:
        return ""
    return (
        f" At step {count(loss.steps[jump])} the learning rate jumps from {rate_in_words(rates[jump - 1])} to "
        f"{rate_in_words(rates[jump])}."
    )


def _actions(
    loss: TrainingLoss, rates: Floats, jump: int | None, first: int, clip: float, order: Crossings
) -> list[Action]:
    at = count(loss.steps[first])
    norm = number(clip, 2) if clip > 0 else ""
    cut = Action(
        text=f"Clip the gradient norm at {norm}, its 90th percentile" if norm else "Clip the gradient norm",
        code=f"torch.nn.utils.clip_grad_norm_(model.parameters(), {literal(clip) if clip > 0 else '1.0'})",
    )
    batches = Action(text=f"Look at the batches of step {at} and of those before: is one of them broken?")
    if jump is not None:
        what, when = rate_in_words(rates[jump]), count(loss.steps[jump])
        return [Action(text=f"Find what sets the learning rate to {what} at step {when}"), cut, batches]
    if order.first == "update":
        moments = Action(text="Let the moments forget faster: lower beta2 to 0.95, which averages 20 gradients")
        return [moments, cut, batches]
    lower = f"from {rate_in_words(rates[first])} to {rate_in_words(rates[first] / 3)}"
    return [batches, cut, Action(text=f"Or lower the learning rate at that point, {lower}")]


def _trend(values: Floats, window: int) -> tuple[Floats, Floats]:
    """([steps], [steps]): the median of the `window` steps before each one, and their scatter from batch to batch.

    The scatter is that of the differences between neighbours, so that the slope of a loss that falls is no part of it.
    """
    import pandas

    series = pandas.Series(numpy.where(numpy.isfinite(values), values, numpy.nan))
    trend = series.shift(1).rolling(window, min_periods=window // 2).median()
    apart = series.diff().abs().shift(1).rolling(window, min_periods=window // 2).median()
    # 1.4826 times the median absolute deviation is the standard deviation of normal values; a difference has two.
    return trend.to_numpy(dtype=numpy.float64), (apart * 1.4826 / math.sqrt(2)).to_numpy(dtype=numpy.float64)
