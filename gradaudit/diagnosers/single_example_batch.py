"""A batch of one example, among larger ones: what is computed over a batch has nothing to compare it with.

## What it looks for

Steps with one call of the loss on one example, where the median batch has `usual` or more. The number is exact. It is
critical where the loss is NaN from such a step on and had not diverged before, and a warning where it recovers: the
standard deviation of one value is NaN, and so is what is divided by it. It is a note where the model has batch
normalisation, which then normalises an example by itself.

## Why it matters

One NaN in the loss makes every weight NaN. Batch normalisation takes the mean and the variance of this one example
into its running statistics, often right before an evaluation.

## What to try

Leave out the last, small batch (`drop_last=True`), choose a batch size that leaves no single example, or skip the
normalisation over a batch of one. `std(unbiased=False)` is 0 there and not NaN.

## When it is wrong

The batch is as it was recorded; that it broke the loss is inferred from the steps before. Images bring many values a
channel, and batch normalisation copes with one of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from gradaudit.chart_data import Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.optimizers import label_of
from gradaudit.evidence.words.single_example import leave_it_out
from gradaudit.evidence.words.wording import count, number, plural, setting
from gradaudit.findings import Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.signals.gradients.finiteness import diverged_before, non_finite_onset, typical_loss_before
from gradaudit.signals.loss.odd_batch import Batch, batch_at
from gradaudit.signals.order_statistics import Integers, median
from gradaudit.training import Training


@dataclass(frozen=True)
class Limits:
    """What makes one example an odd batch."""

    usual: float = 4  # examples; training on two or three at a time has small batches by choice


class Broke(Judged, frozen=True):
    """The loss is NaN from a batch of one example on."""

    batch: Batch
    step: int
    singles: int  # steps on one example
    loss_before: float  # median over the steps before
    before_known: bool  # there are some
    ends_epoch: bool  # it is the last batch of a pass over a DataLoader
    recovered: bool  # weights stayed finite, and later losses are
    span: Span


class Normalised(Judged, frozen=True):
    """Batch normalisation is trained on one example now and then."""

    singles: int
    usual: int
    layers: int
    ends_epoch: bool
    span: Span


class NoHarm(Judged, frozen=True):
    """No batch of one example, or none that could matter."""

    smallest: int
    singles: int


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("steps.batch_size",),
    minimum_steps=5,
    explains=("non_finite", "no_learning", "no_signal", "divergence"),
)
def single_example_batch(
    training: Training, limits: Limits
) -> Iterator[Broke | Normalised | NoHarm | NotApplicable | Skipped]:
    """Look for single examples among larger batches, and at what happened there."""
    frame = training.steps
    sizes = frame["batch_size"].to_numpy(dtype=numpy.int64)
    known = sizes[sizes > 0]
    if not len(known):
        yield Skipped(
            reason="the batch size is not known",
            enable="use a torch.nn.functional loss, whose input tells the size of the batch",
        )
        return
    usual = round(median(known.astype(float)))
    if usual < limits.usual:
        yield NotApplicable(reason="most batches hold a few examples only")
        return
    steps = frame["global_step"].to_numpy()[(sizes == 1) & (frame["micro_steps"].to_numpy() == 1)]
    norms = sum(module.batch_norm for module in training.run.meta.modules)
    onset = non_finite_onset(training)
    batch = Batch() if onset is None or onset.before_step or diverged_before(onset) else batch_at(training, onset.step)
    if onset is not None and not onset.loss_finite and batch.odd == "one example":
        last, before = int(frame["global_step"].iloc[-1]), typical_loss_before(onset)
        yield Broke(
            batch=batch,
            step=onset.step,
            singles=len(steps),
            loss_before=before,
            before_known=bool(numpy.isfinite(before)),
            ends_epoch=_ends_epoch(training, numpy.array([onset.step])),
            recovered=onset.recovered,
            span=Span(first=onset.step, last=last),
        )
    elif len(steps) and norms:
        span = Span(first=int(steps[0]), last=int(steps[-1]))
        yield Normalised(len(steps), usual, norms, _ends_epoch(training, steps), span)
    else:
        yield NoHarm(int(known.min()), len(steps))


def _ends_epoch(training: Training, steps: Integers) -> bool:
    """Whether these are the last batches of passes over a DataLoader."""
    every = training.run.meta.data.batches_per_epoch
    if not every:
        return False
    places = numpy.searchsorted(training.steps["global_step"].to_numpy(), steps)
    return bool(((places + 1) % every == 0).all())


@single_example_batch.tell
def _clean(found: NoHarm) -> Clean:
    if not found.singles:
        return Clean(measured=f"the smallest step is on {plural(found.smallest, 'example')}")
    return Clean(
        measured=f"{plural(found.singles, 'step')} on one example, without NaN in the loss or batch normalisation"
    )


@single_example_batch.tell
def _broke(found: Broke, training: Training, limits: Limits) -> Finding:
    before = (
        f"In the 10 steps before, the loss was steady at {number(found.loss_before)}. " if found.before_known else ""
    )
    return Finding(
        severity=Severity.WARNING if found.recovered else Severity.CRITICAL,
        confidence=Confidence.HIGH,
        title="Batch of one example",
        headline=f"Step {count(found.step)} has a batch of 1 example, the usual one {count(found.batch.usual)}, and "
        f"its loss is NaN{label_of(training)}",
        explanation=f"{before}The standard deviation of one value is NaN (torch divides by the number of values - 1), "
        "and so is whatever is divided by it." + ("" if found.recovered else " From there on every weight is NaN."),
        span=found.span,
        evidence=[
            loss_chart(
                training,
                "The line ends where the loss is NaN: at the mark, a batch of one example.",
                [Mark(label=f"step {count(found.step)}", x=found.step)],
                last_step=max(60, 2 * found.step),
            )
        ],
        actions=leave_it_out(ends_epoch=found.ends_epoch, divides=True),
        measures=_measures(found.singles, found.batch.usual, limits),
        caused=["non_finite", "no_learning", "no_signal", "divergence"],
    )


@single_example_batch.tell
def _normalised(found: Normalised, training: Training, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title="Batch of one example",
        headline=f"{plural(found.singles, 'step')} of batch normalisation on 1 example, the usual batch has "
        f"{count(found.usual)}{label_of(training)}",
        explanation=f"There {plural(found.layers, 'layer')} of batch normalisation take mean and variance of one "
        "example, and normalise it by itself. Its statistics enter the running ones with their full momentum.",
        span=found.span,
        actions=leave_it_out(ends_epoch=found.ends_epoch, divides=False),
        measures=_measures(found.singles, found.usual, limits),
        caused=[],
    )


def _measures(singles: int, usual: int, limits: Limits) -> list[Measure]:
    return [
        Measure(quantity="steps on one example", value=singles, comparison=">=", threshold=1, unit="count"),
        Measure(quantity=f"examples of the median batch, {setting(limits.usual)} or more", value=usual,
                comparison=">=", threshold=limits.usual, unit="count", option="usual"),
    ]  # fmt: skip
