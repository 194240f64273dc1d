"""The scaled gradient overflows, and the GradScaler skips steps.

## What it looks for

Steps that a GradScaler skipped, after the first fifth of the run, in which it finds its scale. More than `often` of
them is a warning; more than `now_and_then` of them, and at least `least`, is a note.

## Why it matters

A skipped step is lost work, and the scaler halves its scale each time. When that goes on, the scale falls until small
gradients underflow in half precision, or the weights no longer change.

## What to try

Use bfloat16, which needs no scaler. With float16, raise `growth_interval`, look for a loss or an activation that is too
large for half precision (65,504), and clip after `unscale_()`.

## When it is wrong

A scaler that doubles its scale every 2,000 steps skips one step each time: fewer than 1 in 1,000. Runs that end before
the scaler has found its scale show more.
"""

from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.chart_data import Lines, Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.wording import count, percent, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Span
from gradaudit.training import Training

_MARKS = 5  # vertical lines that a small chart can hold


class Limits(msgspec.Struct, frozen=True):
    """How many steps a GradScaler may skip once it has found its scale."""

    often: float = 0.05  # a GradScaler that doubles its scale every 2,000 steps skips fewer than 1 in 1,000
    now_and_then: float = 0.01  # ten times what the default growth interval gives
    least: float = 3  # one or two skipped steps of a short run are no pattern


class SkippedSteps(Judged, frozen=True):
    """How many steps the GradScaler skipped, in the whole run and after its first fifth."""

    skipped: int  # steps
    steps: int
    late_skipped: int  # of those after the first fifth of the run
    late_steps: int

    @property
    def late_share(self) -> float:
        """Of the steps after the first fifth, as a fraction."""
        return self.late_skipped / self.late_steps if self.late_steps else 0.0


class Overflow(Judged, frozen=True):
    """The GradScaler goes on skipping steps after the first fifth of the run."""

    seen: SkippedSteps
    often: bool  # more than `often` of them
    first: tuple[int, ...]  # global steps, of those skipped after the first fifth: as many as a chart marks
    span: Span


class ScaleFound(Judged, frozen=True):
    """The GradScaler skips hardly a step after the first fifth of the run."""

    seen: SkippedSteps


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps",),
    minimum_steps=10,
    explains=("no_learning", "fp16_underflow"),
)
def amp_overflow(training: Training, limits: Limits) -> Iterator[Overflow | ScaleFound | NotApplicable]:
    """Count the steps skipped after the first fifth of the run."""
    frame = training.steps
    skipped = frame["skipped"].fillna(False).to_numpy(dtype=bool)
    if not skipped.any() and not numpy.isfinite(frame["amp_scale"].to_numpy(dtype=float)).any():
        yield NotApplicable(reason="no GradScaler was seen")
        return
    settled = len(frame) // 5  # the scaler finds its scale in the beginning
    late = skipped[settled:]
    seen = SkippedSteps(int(skipped.sum()), len(frame), int(late.sum()), len(late))
    often = seen.late_share > limits.often
    if not often and not (seen.late_share > limits.now_and_then and seen.late_skipped >= limits.least):
        yield ScaleFound(seen)
        return
    steps = frame["global_step"].to_numpy()[settled:][late]
    yield Overflow(
        seen=seen,
        often=often,
        first=tuple(steps[:_MARKS].tolist()),
        span=Span(first=int(steps[0]), last=int(steps[-1])),
    )


@amp_overflow.tell
def _clean(found: ScaleFound) -> Clean:
    seen = found.seen
    return Clean(
        measured=f"the GradScaler skipped {plural(seen.skipped, 'step')} of {count(seen.steps)}, "
        f"{count(seen.late_skipped)} of them after the first fifth"
    )


@amp_overflow.tell
def _finding(found: Overflow, training: Training, limits: Limits) -> Finding:
    seen = found.seen
    return Finding(
        severity=Severity.WARNING if found.often else Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title="AMP gradient overflow",
        headline=f"GradScaler skips {percent(seen.late_share)} of the steps after the first fifth of the run, "
        f"{count(seen.late_skipped)} of {count(seen.late_steps)}",
        explanation="At these steps the scaled gradient overflowed: the scaler skipped the step of the optimizer and "
        f"lowered its scale. In the whole run it skipped {count(seen.skipped)} of {plural(seen.steps, 'step')}.",
        span=found.span,
        evidence=[_chart(found, training)],
        actions=[
            Action(text="Use bfloat16, which needs no scaler", code="torch.autocast('cuda', dtype=torch.bfloat16)"),
            Action(
                text="Raise growth_interval, so that the scale is probed less often",
                code="GradScaler(growth_interval=4000)",
            ),
            Action(text="Look for activations near 65,504, the largest number of float16"),
        ],
        measures=_measures(found, limits),
    )


def _chart(found: Overflow, training: Training) -> Lines:
    all_of_them = count(found.seen.late_skipped)
    lines = (
        f"first {len(found.first)} of the {all_of_them} steps"
        if found.seen.late_skipped > len(found.first)
        else plural(found.seen.late_skipped, "step")
    )
    marks = [
        Mark(label="" if index else f"first of {all_of_them} skipped", x=step) for index, step in enumerate(found.first)
    ]
    caption = f"The training loss; the lines are the {lines} skipped after the first fifth of the run."
    return loss_chart(training, caption, marks)


def _measures(found: Overflow, limits: Limits) -> list[Measure]:
    share = found.seen.late_share
    often = Measure(quantity="skipped steps after the first fifth", value=share, comparison=">",
                    threshold=limits.often, unit="fraction", option="often", decides="warning")  # fmt: skip
    if found.often:
        return [often]
    return [
        often,
        Measure(quantity="skipped steps after the first fifth", value=share, comparison=">",
                threshold=limits.now_and_then, unit="fraction", option="now_and_then"),
        Measure(quantity="their number", value=found.seen.late_skipped, comparison=">=", threshold=limits.least,
                unit="count", option="least"),
    ]  # fmt: skip
