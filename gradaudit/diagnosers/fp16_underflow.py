"""Gradients underflow in half precision: they are too small for float16.

## What it looks for

Trainings that compute gradients in float16: their weights are float16, a GradScaler is in use, or the smallest gradient
elements are whole multiples of 2**-24, which only float16 produces. It reads the recorded histograms of the gradients,
times the scale of the GradScaler, without embedding tables. It is a note when more than `coarse` of the nonzero
elements are below 2**-14, where float16 keeps fewer than its 11 bits. It is a warning when more than `crushed` of them
are below 2**-21, where it keeps three bits or fewer, but a note where only the GradScaler points to float16: one left
on under bfloat16 looks the same. It is a note, too, when more than `lost` are below 2**-24, where nothing is kept; such
elements are seen only where the scale changed after the backward pass.

## Why it matters

The smallest number of float16 is 6e-8. What is smaller becomes zero, and what is a little larger is rounded to one of a
few values: those weights stop learning, the smallest gradients first. The loss shows it late, as a plateau, when the
gradients have shrunk.

## What to try

Scale the loss up before the backward pass with a GradScaler, which leaves the gradients unscaled for the optimizer; or
use bfloat16, which has the range of float32 and needs no scale. Average the loss over fewer terms, or sum it.

## When it is wrong

Elements a little below 2**-14 may not matter to what is learned, which is why that is a note. Trainings in float32 and
bfloat16 are not checked, unless a GradScaler is on; their gradients may never have been float16. A working GradScaler
keeps gradients far above the limits. Without one, clipping hides the traces of float16 in the gradients, and the rule
does not apply. Zeros are not counted: masks, ReLUs and unused rows produce them as well.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.half_precision import gradient_sizes
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.wording import count, names, percent, plural, setting
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.signals.gradients.half_precision import (
    NORMAL,
    SMALLEST,
    THREE_BITS,
    Gradients,
    HalfPrecision,
    first_gradients,
    gradients,
    half_precision,
    scale_is_known,
)
from gradaudit.training import Training


class Limits(msgspec.Struct, frozen=True):
    """How many of the gradient elements float16 may lose, or keep with few bits."""

    coarse: float = 0.5  # of the elements; not measured: more than half of the gradient keeps fewer bits
    crushed: float = 0.5  # of the elements; trainings that lost their gradient had 0.94 and more, others 0.00
    lost: float = 0.05  # of the elements; not measured. Loss scaling was made for detectors that lost such shares


class Underflow(Judged, frozen=True):
    """Many gradient elements are too small for float16, or keep few of its bits."""

    seen: Gradients
    half: HalfPrecision
    small: float  # of the nonzero elements, below 2**-14; a fraction
    few_bits: float  # below 2**-21; a fraction
    lost: float  # below 2**-24; a fraction
    zeros: float  # of all elements, exactly zero; a fraction
    passed: Literal["crushed", "coarse", "lost"]  # the worst of the limits
    tensors: tuple[str, ...]  # those with more than `coarse` of their elements below 2**-14, most of them first
    doublings: int  # of the scale, until 99 % of the elements keep all bits
    span: Span

    @property
    def grave(self) -> bool:
        """Most of the gradient is crushed, and it surely is float16's."""
        return self.half.proven and self.passed == "crushed"


class Representable(Judged, frozen=True):
    """Float16 keeps the gradient."""

    seen: Gradients
    small: float  # of the nonzero elements, below 2**-14; a fraction
    lost: float  # below 2**-24; a fraction


class NotHalf(Judged, frozen=True):
    """Nothing shows that the gradients are computed in float16."""

    lost: float | None  # of the nonzero elements, below 2**-24; a fraction, None where no histogram tells


class Unreadable(Judged, frozen=True):
    """Every histogram of a gradient is damaged."""

    torn: int  # histograms


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps",),
    explains=("layer_imbalance", "learning_rate_too_low", "no_learning"),
)
def fp16_underflow(
    training: Training, limits: Limits
) -> Iterator[Underflow | Representable | NotHalf | Unreadable | Skipped]:
    """Count the gradient elements that float16 cannot represent, or only with few bits."""
    seen = gradients(training)
    some = seen is not None and bool(seen.counts.any())
    half = half_precision(training)
    if seen is not None and seen.torn and not some:
        yield Unreadable(seen.torn)
    elif half is None:
        yield NotHalf(seen.share_below(SMALLEST) if seen is not None and some else None)
    elif seen is None or not some:
        yield Skipped(
            reason="no histogram of a gradient was recorded",
            enable="record the run again with this version, for more than one step",
        )
    elif not half.proven and not scale_is_known(training):
        yield Skipped(
            reason="a GradScaler skipped steps, and by what it scaled the loss was not recorded",
            enable="record the run again with this version",
        )
    else:
        small, lost = seen.share_below(NORMAL), seen.share_below(SMALLEST)
        if small > limits.coarse or lost > limits.lost:
            yield _underflow(training, seen, half, limits)
        else:
            yield Representable(seen, small, lost)


def _underflow(training: Training, seen: Gradients, half: HalfPrecision, limits: Limits) -> Underflow:
    small, few = seen.share_below(NORMAL), seen.share_below(THREE_BITS)
    below = seen.below(NORMAL)
    order = numpy.argsort(-numpy.nan_to_num(below))
    zeros = int(seen.zeros.sum())
    start = first_gradients(training)
    always = start is not None and start.counts.any() and start.share_below(NORMAL) > limits.coarse
    first = start.steps[0] if start is not None and always else seen.steps[0]
    return Underflow(
        seen=seen,
        half=half,
        small=small,
        few_bits=few,
        lost=seen.share_below(SMALLEST),
        zeros=zeros / (zeros + int(seen.counts.sum())),
        passed="crushed" if few > limits.crushed else "coarse" if small > limits.coarse else "lost",
        tensors=tuple(seen.names[int(index)] for index in order if below[int(index)] > limits.coarse),
        doublings=seen.doublings,
        span=Span(first=int(first), last=int(seen.steps[-1])),
    )


@fp16_underflow.tell
def _unreadable(found: Unreadable) -> Skipped:
    return Skipped(
        reason=f"the {plural(found.torn, 'histogram')} of the gradients cannot be read: each has more bins on "
        "one side of zero than on the other",
        enable="record the run again",
    )


@fp16_underflow.tell
def _not_half(found: NotHalf) -> NotApplicable:
    """Why the run is not looked at, and what float16 would do to it."""
    reason = "nothing shows that the gradients are computed in float16"
    if found.lost is None:
        return NotApplicable(reason=reason)
    part = f"{percent(found.lost)} of their elements" if found.lost else "none of their elements"
    return NotApplicable(reason=f"{reason}; if they were, {part} would become zero without a GradScaler")


@fp16_underflow.tell
def _clean(found: Representable) -> Clean:
    return Clean(
        measured=f"{percent(found.small)} of the gradient elements are below 2**-14, and {percent(found.lost)} "
        f"below 2**-24, at a scale of {_in_words(found.seen.scale)}"
        + (f"; all this {_torn(found.seen)}" if found.seen.torn else "")
    )


@fp16_underflow.tell
def _finding(found: Underflow, training: Training, limits: Limits) -> Finding:
    proven = found.half.proven
    return Finding(
        severity=Severity.WARNING if found.grave else Severity.NOTE,
        confidence=Confidence.HIGH if found.grave else Confidence.MEDIUM if proven else Confidence.LOW,
        title="Gradients lose precision in float16" if found.passed == "coarse" else "Gradient underflow in float16",
        headline=_headline(found),
        explanation=_explanation(found),
        span=found.span,
        tensors=list(found.tensors[:20]),
        evidence=[gradient_sizes(found.seen, limits.coarse), loss_chart(training, "The training loss.", [])],
        actions=_actions(found),
        measures=[
            Measure(quantity="elements below 2**-14", value=found.small, comparison=">", threshold=limits.coarse,
                    unit="fraction", option="coarse", any_of="lost"),
            Measure(quantity="elements below 2**-21", value=found.few_bits, comparison=">", threshold=limits.crushed,
                    unit="fraction", option="crushed", decides="warning"),
            Measure(quantity="elements below 2**-24", value=found.lost, comparison=">", threshold=limits.lost,
                    unit="fraction", option="lost", any_of="lost"),
        ],
    )  # fmt: skip


def _headline(found: Underflow) -> str:
    would, s = ("", "s") if found.half.proven else ("would ", "")
    if found.passed == "crushed":
        return f"Float16 {would}keep{s} 3 bits or fewer of {percent(found.few_bits)} of the gradient elements"
    if found.passed == "coarse":
        return f"Float16 {would}keep{s} fewer than 11 bits of {percent(found.small)} of the gradient elements"
    return f"Float16 {would}round{s} {percent(found.lost)} of the gradient elements to zero: they are below 2**-24"


def _explanation(found: Underflow) -> str:
    seen = found.seen
    scaled = f" after scaling by {_in_words(seen.scale)}" if seen.scale != 1 else ""
    sentences = [
        f"At {plural(len(seen.steps), 'step')} from {count(seen.steps[0])} to {count(seen.steps[-1])}, "
        f"{percent(found.small)} of the nonzero gradient elements are below 2**-14 = 6.1e-5{scaled}, where float16 "
        f"keeps fewer than its 11 bits. Of all elements, {percent(found.zeros)} are exactly zero.",
        _why_half(found.half),
    ]
    if found.tensors:
        sentences.append(f"Most of them are in {names(list(found.tensors), 3)}.")
    if seen.torn:
        sentences.append(f"All this {_torn(seen)}.")
    return " ".join(sentences)


def _why_half(half: HalfPrecision) -> str:
    if half.sign == "parameters":
        are = "is" if len(half.parameters) == 1 else "are"
        return f"{plural(len(half.parameters), 'parameter')}, {names(list(half.parameters), 2)}, {are} float16."
    if half.sign == "GradScaler":
        return "A GradScaler scales the loss, as for float16; if autocast runs in bfloat16, no bits are lost."
    why = "The smallest elements are whole multiples of 2**-24, which only float16 produces"
    return f"{why}." if half.scaler else f"{why}, and no GradScaler was seen."


def _torn(seen: Gradients) -> str:
    """What was left out of the histograms."""
    torn = plural(seen.torn, "histogram")
    return f"without {torn} that cannot be read, with more bins on one side of zero than on the other"


def _in_words(scale: float) -> str:
    return f"{scale:.0f}" if scale >= 1 else setting(scale)


def _actions(found: Underflow) -> list[Action]:
    if found.seen.scale != 1:
        first = Action(
            text=f"Let the scale grow by 2**{found.doublings}, from {_in_words(found.seen.scale)}, so that 99 % of the "
            "elements keep all bits: look for the tensor whose overflow keeps it down"
        )
    else:
        first = Action(
            text=f"Scale the loss by 2**{found.doublings} or more, so that 99 % of the elements keep all bits",
            code="scaler = torch.amp.GradScaler()\nscaler.scale(loss).backward()\nscaler.step(optimizer)\n"
            "scaler.update()",
        )
    return [
        first,
        Action(
            text="Or compute in bfloat16, which reaches down to 1e-38 and needs no scale",
            code="with torch.autocast(device_type, dtype=torch.bfloat16): loss = ...",
        ),
    ]
