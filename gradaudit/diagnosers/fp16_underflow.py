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

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.half_precision import gradient_sizes
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.wording import count, names, percent, plural, setting
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
)
from gradaudit.signals.gradients.half_precision import (
    LOWEST,
    NORMAL,
    SMALLEST,
    THREE_BITS,
    Gradients,
    first_gradients,
    gradients,
)
from gradaudit.training import Training


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps",),
    explains=("layer_imbalance", "learning_rate_too_low", "no_learning"),
)
def fp16_underflow(
    training: Training,
    *,
    coarse: float = 0.5,  # of the elements; not measured: more than half of the gradient keeps fewer bits
    crushed: float = 0.5,  # of the elements; trainings that lost their gradient had 0.94 and more, others 0.00
    lost: float = 0.05,  # of the elements; not measured. Loss scaling was made for detectors that lost such shares
) -> Iterator[Verdict]:
    """Count the gradient elements that float16 cannot represent, or only with few bits."""
    seen = gradients(training)
    why, proven = _in_half(training, seen)
    if seen is not None and seen.torn and not seen.counts.any():
        yield Skipped(
            reason=f"the {plural(seen.torn, 'histogram')} of the gradients cannot be read: each has more bins on "
            "one side of zero than on the other",
            enable="record the run again",
        )
        return
    if not why:
        yield NotApplicable(reason=_elsewhere(seen))
        return
    if seen is None or not seen.counts.any():
        yield Skipped(
            reason="no histogram of a gradient was recorded",
            enable="record the run again with this version, for more than one step",
        )
        return
    if not proven and not numpy.isfinite(training.steps["amp_scale"].to_numpy(dtype=float)).any():
        yield Skipped(
            reason="a GradScaler skipped steps, and by what it scaled the loss was not recorded",
            enable="record the run again with this version",
        )
        return
    small, gone = _share(seen, NORMAL), _share(seen, SMALLEST)
    if small > coarse or gone > lost:
        yield _finding(training, seen, why, proven, small, gone, coarse, crushed, lost)
    else:
        yield Clean(
            measured=f"{percent(small)} of the gradient elements are below 2**-14, and {percent(gone)} "
            f"below 2**-24, at a scale of {_in_words(seen.scale)}" + (f"; all this {_torn(seen)}" if seen.torn else "")
        )


def _share(seen: Gradients, limit: int) -> float:
    """Of all elements other than zero."""
    pooled = seen.counts.sum(axis=0)
    return float(pooled[: limit - LOWEST].sum() / pooled.sum())


def _torn(seen: Gradients) -> str:
    """What was left out of the histograms."""
    torn = plural(seen.torn, "histogram")
    return f"without {torn} that cannot be read, with more bins on one side of zero than on the other"


def _in_words(scale: float) -> str:
    return f"{scale:.0f}" if scale >= 1 else setting(scale)


def _in_half(training: Training, seen: Gradients | None) -> tuple[str, bool]:
    """How one knows that gradients are computed in float16, empty where nothing says so, and whether that is sure."""
    half = [t.name for t in training.tensors if t.optimizer == training.id and t.dtype == "float16"]
    if half:
        return f"{plural(len(half), 'parameter')}, {names(half, 2)}, {'is' if len(half) == 1 else 'are'} float16.", True
    frame = training.steps
    scaler = numpy.isfinite(frame["amp_scale"].to_numpy(dtype=float)).any() or _skips(training)
    if seen is not None and seen.rounded:
        why = "The smallest elements are whole multiples of 2**-24, which only float16 produces"
        return f"{why}." if scaler else f"{why}, and no GradScaler was seen.", True
    # A GradScaler left on under bfloat16 scales what needs no scale.
    why = "A GradScaler scales the loss, as for float16; if autocast runs in bfloat16, no bits are lost."
    return (why, False) if scaler else ("", False)


def _skips(training: Training) -> bool:
    """Whether a GradScaler skipped a step, whatever its scale."""
    return bool(training.steps["skipped"].fillna(False).to_numpy(dtype=bool).any())


def _elsewhere(seen: Gradients | None) -> str:
    """Why the run is not looked at, and what float16 would do to it."""
    reason = "nothing shows that the gradients are computed in float16"
    if seen is None or not seen.counts.any():
        return reason
    gone = _share(seen, SMALLEST)
    part = f"{percent(gone)} of their elements" if gone else "none of their elements"
    return f"{reason}; if they were, {part} would become zero without a GradScaler"


def _finding(
    training: Training, seen: Gradients, why: str, proven: bool, small: float, gone: float, coarse: float,
    crushed: float, lost: float,
) -> Finding:  # fmt: skip
    below = seen.below(NORMAL)
    order = numpy.argsort(-numpy.nan_to_num(below))
    worst = [seen.names[int(index)] for index in order if below[int(index)] > coarse]
    scaled = seen.scale != 1
    cut = int(seen.zeros.sum())
    few = _share(seen, THREE_BITS)
    grave = proven and few > crushed
    title, headline = _named(few, small, gone, coarse, crushed, proven)
    start = first_gradients(training)
    always = start is not None and start.counts.any() and _share(start, NORMAL) > coarse
    first = start.steps[0] if start is not None and always else seen.steps[0]
    return Finding(
        severity=Severity.WARNING if grave else Severity.NOTE,
        confidence=Confidence.HIGH if grave else Confidence.MEDIUM if proven else Confidence.LOW,
        title=title,
        headline=headline,
        explanation=f"At {plural(len(seen.steps), 'step')} from {count(seen.steps[0])} to {count(seen.steps[-1])}, "
        f"{percent(small)} of the nonzero gradient elements are below 2**-14 = 6.1e-5"
        + (f" after scaling by {_in_words(seen.scale)}" if scaled else "")
        + ", where float16 keeps fewer than its 11 bits. "
        f"Of all elements, {percent(cut / (cut + int(seen.counts.sum())))} are exactly zero. "
        + why
        + (f" Most of them are in {names(worst, 3)}." if worst else "")
        + (f" All this {_torn(seen)}." if seen.torn else ""),
        span=Span(first=int(first), last=int(seen.steps[-1])),
        tensors=worst[:20],
        evidence=[gradient_sizes(seen, coarse), loss_chart(training, "The training loss.", [])],
        actions=_actions(seen, scaled),
        measures=[
            Measure(quantity="elements below 2**-14", value=small, comparison=">", threshold=coarse, unit="fraction",
                    option="coarse", any_of="lost"),
            Measure(quantity="elements below 2**-21", value=few, comparison=">", threshold=crushed, unit="fraction",
                    option="crushed", decides="warning"),
            Measure(quantity="elements below 2**-24", value=gone, comparison=">", threshold=lost, unit="fraction",
                    option="lost", any_of="lost"),
        ],
    )  # fmt: skip


def _named(few: float, small: float, gone: float, coarse: float, crushed: float, proven: bool) -> tuple[str, str]:
    """Title and headline, by the worst of the three limits that is passed."""
    would = "" if proven else "would "
    s = "s" if proven else ""
    if few > crushed:
        return (
            "Gradient underflow in float16",
            f"Float16 {would}keep{s} 3 bits or fewer of {percent(few)} of the gradient elements",
        )
    if small > coarse:
        return (
            "Gradients lose precision in float16",
            f"Float16 {would}keep{s} fewer than 11 bits of {percent(small)} of the gradient elements",
        )
    return (
        "Gradient underflow in float16",
        f"Float16 {would}round{s} {percent(gone)} of the gradient elements to zero: they are below 2**-24",
    )


def _actions(seen: Gradients, scaled: bool) -> list[Action]:
    cumulative = numpy.cumsum(seen.counts.sum(axis=0))
    hundredth = int(numpy.searchsorted(cumulative, 0.01 * cumulative[-1])) + LOWEST  # bin below which 1 % lies
    power = max(1, -(-(NORMAL - hundredth) // 4))
    if scaled:
        first = Action(
            text=f"Let the scale grow by 2**{power}, from {_in_words(seen.scale)}, so that 99 % of the elements keep "
            "all bits: look for the tensor whose overflow keeps it down"
        )
    else:
        first = Action(
            text=f"Scale the loss by 2**{power} or more, so that 99 % of the elements keep all bits",
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
