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

from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.spikes import loss_around, norm_around
from gradaudit.evidence.words.clipping import clip_norm
from gradaudit.evidence.words.close_look import look_closely
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.spikes import order_in_words
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, factor, number, percent, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Span, ratio
from gradaudit.signals.loss.first_crossings import Crossings, first_crossings
from gradaudit.signals.loss.progress import divergence, smoothing_window
from gradaudit.signals.loss.spikes import Spikes, rate_jump, raw_spikes
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.loss.trend import Height, trend_and_scatter
from gradaudit.signals.order_statistics import Floats, Integers, Mask, median, quantile, running_median
from gradaudit.training import Training

_OFTEN = 0.05  # of the steps: many spikes are how the loss is
_GAIN = 0.1  # of the median of the first steps; of less, any spike undoes most
_LONG = 0.2  # of the steps; one or two that take long to come back are no habit: faulty runs took 22 of 300, 25 of 200
_REGULAR, _FEWEST = 0.1, 3  # spikes whose distances differ by less than a tenth of their mean, and how many those are


class Limits(msgspec.Struct, frozen=True):
    """From where on a rise of the loss is a spike, and when it is a warning."""

    times: float = 1.5  # runmedic's factor over the trend
    deviations: float = 8.0  # runmedic's robust z; faulty runs start at 11
    share: float = 0.1  # of the first loss; faulty runs start at 0.16
    undone: float = 0.8  # of the gain; no healthy run has a spike, faulty ones reach 1.1 to 3.4
    window: float = 50  # steps; long against a spike, short against a run


class NoSpike(Judged, frozen=True):
    """In so many steps the loss never rises far, or does not come back."""

    steps: int


class OftenHigh(Judged, frozen=True):
    """The loss stands above its trend so often that this is how it is, or at the last step."""

    times: int  # stretches of steps
    steps: int  # of the run
    share: float  # of the steps that are high


class Spiking(Judged, frozen=True):
    """The loss jumps far above its trend and recovers, once or several times."""

    loss: TrainingLoss
    spikes: Spikes
    times: int  # how many spikes
    window: int  # steps of the running median
    height: Height
    undone: float  # share of what was gained that the highest spike undoes; 0 where too little was gained
    undoes: bool  # more of it than the limit
    every: float  # steps between spikes at equal distances; 0 where they come as they like
    jump: int | None  # the step, as an index, at which a learning rate jumped just before
    order: Crossings
    usual_most: float  # 90th percentile of the gradient norm
    span: Span


@diagnoser(per="training", worst=Severity.WARNING, needs=("steps",), minimum_steps=100)
def loss_spike(training: Training, limits: Limits) -> Iterator[Spiking | OftenHigh | NoSpike | NotApplicable]:
    """Look for stretches of steps at which the loss stands far above the steps before."""
    loss = training_loss(training)
    if loss.shapeless:
        yield NotApplicable(reason=unclear_in_words(loss.shapeless))
        return
    smooth = running_median(loss.values, smoothing_window(loss))
    trend, scatter = trend_and_scatter(loss.values, int(limits.window))
    high = _high(loss, smooth, trend, scatter, limits)
    starts = numpy.flatnonzero(high & ~numpy.concatenate([[False], high[:-1]]))
    # The trend catches up with a loss that stays up: it has to come back below where the trend was before.
    back = len(starts) and bool((smooth[starts[-1] :] < limits.times * trend[starts[-1]]).any())
    if not back or divergence(training) is not None:
        yield NoSpike(len(smooth))
    elif high.mean() > (_LONG if len(starts) <= 2 else _OFTEN) or high[-1]:
        yield OftenHigh(times=len(starts), steps=len(smooth), share=float(high.mean()))
    else:
        worst = int(numpy.argmax(numpy.where(high, smooth - trend, -numpy.inf)))
        height = Height(
            level=float(smooth[worst]),
            trend=float(trend[worst]),
            scatter=float(scatter[worst]),
            start=median(loss.values[: smoothing_window(loss)]),
        )
        spikes = raw_spikes(loss.values, high, limits.times * trend, worst, smoothing_window(loss))
        yield _spiking(training, spikes, starts, height, limits)


def _high(loss: TrainingLoss, smooth: Floats, trend: Floats, scatter: Floats, limits: Limits) -> Mask:
    """[steps]: where the running median stands far above its trend, after the first tenth of the run."""
    with numpy.errstate(invalid="ignore"):
        above = smooth - trend
        high = (smooth > limits.times * trend) & (above > limits.deviations * scatter)
        high &= above > limits.share * abs(loss.first)
    high[: max(int(limits.window) // 2, len(high) // 10)] = False
    return numpy.asarray(high)


def _spiking(training: Training, spikes: Spikes, starts: Integers, height: Height, limits: Limits) -> Spiking:
    loss = training_loss(training)
    gained = height.gained
    undone = height.above / gained if gained >= _GAIN * abs(height.start) and gained > 0 else 0.0
    norms = training.steps["gradient_norm"].to_numpy(dtype=float)
    return Spiking(
        loss=loss,
        spikes=spikes,
        times=len(starts),
        window=smoothing_window(loss),
        height=height,
        undone=undone,
        undoes=undone >= limits.undone,
        every=_period(starts),
        jump=rate_jump(training, spikes.first),
        order=first_crossings(training, loss, spikes),
        usual_most=float(quantile(norms.reshape(-1, 1), 0.9)[0]),
        span=Span(first=int(loss.steps[spikes.steps[0]]), last=int(loss.steps[spikes.steps[-1]])),
    )


def _period(starts: Integers) -> float:
    """The steps between spikes at equal distances; 0 where they are too few, or come as they like."""
    apart = numpy.diff(starts)
    return float(apart.mean()) if len(starts) >= _FEWEST and apart.std() < _REGULAR * apart.mean() else 0.0


@loss_spike.tell
def _no_spike(found: NoSpike) -> Clean:
    return Clean(measured=f"no spike that the loss recovers from in {plural(found.steps, 'step')}")


@loss_spike.tell
def _often_high(found: OftenHigh) -> Clean:
    return Clean(
        measured=f"the loss is up more often than a spike is, {plural(found.times, 'time')} in "
        f"{plural(found.steps, 'step')} and at {percent(found.share)} of them"
    )


@loss_spike.tell
def _finding(found: Spiking, training: Training, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.WARNING if found.undoes and not found.every else Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title=_title(found),
        headline=_headline(found),
        explanation=_explanation(found, training),
        span=found.span,
        evidence=[
            loss_around(found.loss, found.spikes, several=found.times > 1),
            norm_around(found.loss, found.spikes, several=found.times > 1),
        ],
        actions=_of_the_script(found.every) if found.every and found.jump is None else _actions(found, training),
        measures=_measures(found, limits),
    )


def _step(found: Spiking, index: int) -> str:
    return f"step {count(found.loss.steps[index])}"


def _title(found: Spiking) -> str:
    if found.every:
        return f"Loss spike every {plural(found.every, 'step')}"
    if found.times > 1:
        return f"Loss spikes from {_step(found, found.spikes.steps[0])}"
    return f"Loss spike at {_step(found, found.spikes.top)}"


def _headline(found: Spiking) -> str:
    top = found.spikes.top
    jumps = f"The loss jumps to {factor(found.loss.values[top] / found.height.trend)} times its trend"
    if found.every:
        return f"{jumps} about every {plural(found.every, 'step')}, {plural(found.times, 'time')} in all"
    highest = f", the highest of {count(found.times)} spikes" if found.times > 1 else ""
    return f"{jumps} at {_step(found, top)} and recovers{highest}"


def _explanation(found: Spiking, training: Training) -> str:
    loss, spikes, jump = found.loss, found.spikes, found.jump
    rates = training.learning_rates
    sentences = [
        f"{plural(found.times, 'spike')} of {plural(len(spikes.steps), 'step')} in all, the first at "
        f"{_step(found, spikes.steps[0])}. The highest loss of a step is {number(float(loss.values[spikes.top]))}, "
        f"from a trend of {number(found.height.trend)}, at a learning rate of {rate_in_words(rates[spikes.top])}."
    ]
    if jump is not None:
        sentences.append(
            f"At {_step(found, jump)} the learning rate jumps from {rate_in_words(rates[jump - 1])} to "
            f"{rate_in_words(rates[jump])}."
        )
    elif not found.every:
        sentences.append(order_in_words(training, loss, found.order))
    if found.every:
        sentences.append("The spikes are periodic: something that the script does at these steps raises the loss.")
    if found.undoes:
        part = "all" if found.undone >= 1 else percent(found.undone)
        sentences.append(f"The spike undoes {part} of the improvement since the first steps.")
    return " ".join(sentences)


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


def _actions(found: Spiking, training: Training) -> list[Action]:
    rates, first, clip = training.learning_rates, found.spikes.first, found.usual_most
    at = f" at {number(clip, 2)}, its 90th percentile" if clip > 0 else ""
    cut = clip_norm(f"Clip the gradient norm{at}", clip)
    step = int(training.steps["global_step"].iloc[first])
    closer = look_closely(step, step + 1)
    batches = Action(text=f"Look at the batches of {_step(found, first)} and of those before: is one of them broken?")
    if found.jump is not None:
        what = rate_in_words(rates[found.jump])
        return [Action(text=f"Find what sets the learning rate to {what} at {_step(found, found.jump)}"), cut, batches]
    if found.order.first == "update":
        moments = Action(text="Let the moments forget faster: lower beta2 to 0.95, which averages 20 gradients")
        return [moments, cut, batches, closer]
    lower = f"from {rate_in_words(rates[first])} to {rate_in_words(rates[first] / 3)}"
    return [batches, cut, Action(text=f"Or lower the learning rate at that point, {lower}"), closer]


def _measures(found: Spiking, limits: Limits) -> list[Measure]:
    height, first = found.height, abs(found.loss.first)
    above = ("height of that median", height.above)
    return [
        ratio((f"loss, median of {count(found.window)} steps", height.level), ("trend", height.trend), ">",
              limits.times, option="times"),
        ratio(above, ("scatter", height.scatter), ">", limits.deviations, option="deviations"),
        ratio(above, ("first loss", first), ">", limits.share, unit="fraction", option="share"),
        ratio(("gain so far", height.gained), ("start", abs(height.start)), ">=", _GAIN, unit="fraction",
              decides="warning"),
        *([] if not found.undone else [
            Measure(quantity="height of that median / gain so far", value=found.undone, comparison=">=",
                    threshold=limits.undone, unit="fraction", option="undone", decides="warning")]),
    ]  # fmt: skip
