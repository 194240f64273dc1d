"""Gradients are clipped while the GradScaler's factor is still in them.

## What it looks for

The order of `clip_grad_norm_` or `clip_grad_value_` and `GradScaler.unscale_`: steps whose gradients were clipped
first, and unscaled after, by the script or inside `scaler.step`. Their share of all steps of the scaler has to be
above `share`, and the scale above `scaled`; below that scale, it is a note.

## Why it matters

Scaled gradients are tens of thousands of times as large. Clipped to a norm of 1 and then divided by a scale of 65,536
they have a norm of 0.000015: SGD hardly moves, and Adam sees gradients near its eps. A threshold that seems to do its
work, since it acts at each step, has replaced the learning rate.

## What to try

Call `scaler.unscale_(optimizer)` before clipping.

## When it is wrong

A threshold that was multiplied with the scale on purpose does what it is meant to. Scalers whose class brings an
`unscale_` of its own, such as that of FSDP, are not judged.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.wording import count, number, percent, plural, setting
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.signals.order_statistics import median


@dataclass(frozen=True)
class Limits:
    """How many steps, under which scale."""

    share: float = 0.1  # of the steps: wiring is the same at all of them; fewer are a phase that was left
    scaled: float = 2.0  # a choice: below it a threshold means nearly what it says


class ClippedScaled(Judged, frozen=True):
    """Gradients are clipped before they are unscaled."""

    clipped: int  # steps
    steps: int  # of the scaler
    late: int  # steps that the script itself unscaled after clipping
    scale: float  # median; NaN where it is not known
    threshold: float  # median
    norm: float  # median of the gradient norm before clipping; NaN where it is not known
    span: Span


class ClippedUnscaled(Judged, frozen=True):
    """What is clipped is unscaled before."""

    clipped: int
    steps: int


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps",),
    minimum_steps=5,
    explains=("constant_clipping", "epsilon_dominates", "learning_rate_too_low", "no_learning", "fp16_underflow",
              "vanishing_gradient", "premature_plateau", "no_signal", "stale_gradient", "frozen_parameter"),
)  # fmt: skip
def clipping_before_unscale(
    run: Run, limits: Limits
) -> Iterator[ClippedScaled | ClippedUnscaled | NotApplicable | Skipped]:
    """Count the steps that were clipped before their gradients were unscaled."""
    if not run.meta.schedules.recorded:
        yield Skipped(
            reason="the order of clipping and unscaling was not recorded", enable="record again with this version"
        )
        return
    scalers = [one for one in run.meta.schedules.scaling if one.known]
    if not scalers:
        yield NotApplicable(reason="there is no GradScaler that is enabled")
        return
    worst = max(scalers, key=lambda one: one.clipped_before)
    if worst.clipped_before <= limits.share * worst.steps:
        yield ClippedUnscaled(sum(one.clipped_after for one in scalers), sum(one.steps for one in scalers))
        return
    frame = run.steps
    clipped = frame[frame["clip_kind"] > 0] if (frame["clip_kind"] > 0).any() else frame
    yield ClippedScaled(
        clipped=worst.clipped_before,
        steps=worst.steps,
        late=worst.late_unscale,
        scale=median(clipped["amp_scale"].to_numpy(dtype=numpy.float64)),
        threshold=median(clipped["clip_threshold"].to_numpy(dtype=numpy.float64)),
        norm=median(clipped["gradient_norm"].to_numpy(dtype=numpy.float64)),
        span=Span(first=worst.first_step, last=max(worst.first_step, int(frame["global_step"].iloc[-1]))),
    )


@clipping_before_unscale.tell
def _ordered(found: ClippedUnscaled) -> Clean:
    return Clean(measured=f"{count(found.clipped)} of {plural(found.steps, 'scaled step')} clipped, all once unscaled")


@clipping_before_unscale.tell
def _finding(found: ClippedScaled, limits: Limits) -> Finding:
    small = found.scale <= limits.scaled
    effect = "" if not found.scale > 0 else (
        f" A threshold of {setting(found.threshold)} under a scale of {count(found.scale)} leaves a norm of at "
        f"most {number(found.threshold / found.scale)}."
    )  # fmt: skip
    return Finding(
        severity=Severity.NOTE if small else Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Clipped before unscaling",
        headline=f"At {percent(found.clipped / found.steps)} of the steps gradients are clipped to "
        f"{setting(found.threshold)} while scaled by {count(found.scale)}"
        if found.scale > 0
        else f"At {percent(found.clipped / found.steps)} of the steps gradients are clipped while they are scaled",
        explanation=("The script calls scaler.unscale_ after clipping." if found.late else
                     "scaler.unscale_ is not called before clipping; scaler.step unscales after it.") + effect,
        span=found.span,
        evidence=[_table(found)],
        actions=[
            Action(
                text=f"Call scaler.unscale_(optimizer) before clipping to {setting(found.threshold)}",
                code="scaler.scale(loss).backward()\nscaler.unscale_(optimizer)\n"
                f"torch.nn.utils.clip_grad_norm_(model.parameters(), {setting(found.threshold)})\n"
                "scaler.step(optimizer)\nscaler.update()",
            )
        ],
        measures=[
            Measure(quantity="steps clipped before unscaling", value=found.clipped / found.steps, comparison=">",
                    threshold=limits.share, unit="fraction", option="share"),
            Measure(quantity="scale", value=found.scale, comparison=">", threshold=limits.scaled, option="scaled",
                    decides="warning"),
        ],
    )  # fmt: skip


def _table(found: ClippedScaled) -> Numbers:
    """The gradient norm on its way to the step, as the scaler's factor is in it or not; medians over the steps."""
    scale = found.scale if found.scale > 0 else math.nan
    most = min(found.norm, found.threshold) if found.norm > 0 else found.threshold
    return Numbers(
        title="The gradient norm on its way to the step",
        caption="Medians over the clipped steps. In the right order the threshold meets the norm on the right.",
        columns=["", "while scaled", "unscaled"],
        cells=[
            ["before clipping", number(found.norm), number(found.norm / scale)],
            [f"clipped to {setting(found.threshold)}", number(most), number(most / scale)],
        ],
    )
