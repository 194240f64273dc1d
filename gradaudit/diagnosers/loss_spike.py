"""The loss jumps far above its trend and comes back.

## What it looks for

The running median of the loss over five steps (as many as cover 32 targets) against its trend, the median of the
`window` steps before. A spike is higher than `times` the trend, by more than `deviations` of the usual scatter from
batch to batch and by more than `share` of the first loss; it starts after the first tenth of the run and comes back
below that height. It is a note, or a warning when the spike rises by `undone` or more of what the trend had gained from
the first steps, their median, and that was 10 % of it or more. Spikes at more than 5 % of the steps, or 10 % if they
are one or two, are how the loss is, and not reported.

## Why it matters

A spike of several steps is a step that went wrong: a bad batch, a learning rate at its limit, a moment estimate of Adam
that was too small. Each costs the steps it takes to come back, and the next may not come back.

## What to try

Look at the batches just before the spike. Clip the gradient norm at its 90th percentile. Under Adam, lower beta2 (0.95)
or the learning rate.

## When it is wrong

A warm restart of the learning rate raises the loss on purpose, and so does a new phase with harder data.
"""

import math
from collections.abc import Iterator

import numpy

from gradaudit.derived.each_optimizer import each_optimizer
from gradaudit.derived.evidence import loss_chart, norm_chart
from gradaudit.derived.learning_rates import label_of, learning_rates, rate_in_words
from gradaudit.derived.order_statistics import Floats, Integers, Mask, median, quantile, running_median
from gradaudit.derived.progress import divergence as diverges
from gradaudit.derived.progress import smoothing_window
from gradaudit.derived.training_loss import training_loss
from gradaudit.derived.wording import count, factor, number, percent, plural, setting
from gradaudit.diagnoser import diagnoser
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
)
from gradaudit.run import Run

_OFTEN = 0.05  # of the steps: many spikes are how the loss is
_GAIN = 0.1  # of the median of the first steps; of less, any spike undoes most
_MOST_MARKS = 5
_LONG = 0.1  # of the steps; one or two that take long to come back are no habit: a faulty run's took 22 of 300 steps


@diagnoser(worst=Severity.WARNING, needs=("steps",), minimum_steps=100)
def loss_spike(
    run: Run,
    *,
    times: float = 1.5,  # runmedic's factor over the trend
    deviations: float = 8.0,  # runmedic's robust z; faulty runs start at 11
    share: float = 0.1,  # of the first loss; faulty runs start at 0.16
    undone: float = 0.8,  # of the gain; no healthy run has a spike, faulty ones reach 1.1 to 3.4
    window: float = 50,  # steps; long against a spike, short against a run
) -> Iterator[Verdict]:
    """Look for stretches of steps at which the loss stands far above the steps before."""

    def judge(optimizer: int) -> Iterator[Verdict]:
        loss = training_loss(run, optimizer)
        if loss.unjudged:
            yield NotApplicable(reason=loss.unjudged)
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
        gone = diverges(run, optimizer) is not None
        if not len(starts) or not back or gone or high.mean() > (_LONG if len(starts) <= 2 else _OFTEN) or high[-1]:
            yield Clean(
                measured=(
                    f"no spike that the loss comes back from in {plural(len(smooth), 'step')}"
                    if gone or not back or not len(starts)
                    else f"the loss is up more often than a spike is, {plural(len(starts), 'time')} in "
                    f"{plural(len(smooth), 'step')} and at {percent(float(high.mean()))} of them"
                )
                + label_of(run, optimizer)
            )
            return
        worst = int(numpy.argmax(numpy.where(high, above, -numpy.inf)))
        at, until = int(loss.steps[starts[0]]), int(loss.steps[numpy.flatnonzero(high)[-1]])
        norms = run.steps_of(optimizer)["gradient_norm"].to_numpy(dtype=float)
        peaks = sorted(_peaks(starts, high, above), key=lambda i: -above[i])[:_MOST_MARKS]
        marks = [Mark(label=f"step {count(loss.steps[i])}", x=int(loss.steps[i])) for i in sorted(peaks)]
        marked = (
            "the mark is the spike's highest step" if len(peaks) == 1 else "the marks are the spikes' highest steps"
        )
        clip = float(quantile(norms.reshape(-1, 1), 0.9)[0])
        rates = learning_rates(run, optimizer)[worst]
        # The first loss is one batch's, and may be far off.
        start = median(loss.values[: smoothing_window(loss)])
        gained = start - float(trend[worst])
        lost = float(above[worst]) / gained if gained >= _GAIN * abs(start) and gained > 0 else 0.0
        part = "all" if lost >= 1 else percent(lost)
        yield Finding(
            severity=Severity.WARNING if lost >= undone else Severity.NOTE,
            confidence=Confidence.MEDIUM,
            headline=f"The loss jumps to {factor(smooth[worst] / trend[worst])} times its trend at step "
            f"{count(loss.steps[worst])} and comes back" + label_of(run, optimizer),
            seen=f"{plural(len(starts), 'spike')} of {plural(int(high.sum()), 'step')} in all. The highest reaches "
            f"{number(float(smooth[worst]))} from a trend of {number(float(trend[worst]))}, at a learning rate of "
            f"{rate_in_words(rates)}."
            + (f" That undoes {part} of what had been gained since the first steps." if lost >= undone else ""),
            span=Span(first=at, last=until),
            evidence=[
                loss_chart(run, optimizer, f"The training loss; {marked}.", marks),
                norm_chart(run, optimizer, f"The gradient norm over the same steps; {marked}. A norm that rises before "
                           "the loss is its cause, one that rises after it the consequence.", marks),
            ],
            actions=[
                Action(text=f"Look at the batches of the steps before {count(at)}: is one of them broken?"),
                Action(text=f"Clip the gradient norm at {number(clip, 2)}, its 90th percentile" if clip > 0
                       else "Clip the gradient norm",
                       code="torch.nn.utils.clip_grad_norm_(model.parameters(), "
                       f"{number(clip, 2).replace(',', '') if clip > 0 else '1.0'})"),
                Action(text=f"Or lower the learning rate at that point, from {rate_in_words(rates)} to "
                       f"{rate_in_words(rates / 3)}"),
            ],
            measures=[
                Measure(quantity="loss / trend", observed=number(float(smooth[worst] / trend[worst])),
                        threshold=f"> {setting(times)}", option="times"),
                Measure(quantity="height / scatter",
                        observed=number(float(above[worst] / scatter[worst])) if scatter[worst] else "infinity",
                        threshold=f"> {setting(deviations)}", option="deviations"),
                Measure(quantity="height / first loss", observed=percent(float(above[worst]) / abs(loss.first)),
                        threshold=f"> {percent(share)}", option="share"),
                Measure(quantity="height / gain so far",
                        observed="100 % or more" if lost >= 1 else percent(lost) if lost > 0
                        else f"a gain under {percent(_GAIN)} of the start",
                        threshold=f">= {percent(undone)} is a warning", option="undone"),
            ],
        )  # fmt: skip

    yield from each_optimizer(run, judge)


def _peaks(starts: Integers, high: Mask, above: Floats) -> list[int]:
    """The step of each spike at which the loss stands highest above its trend."""
    ends = [*starts[1:], len(high)]
    return [
        first + int(numpy.argmax(numpy.where(high[first:end], above[first:end], -numpy.inf)))
        for first, end in zip(starts, ends, strict=True)
    ]


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
