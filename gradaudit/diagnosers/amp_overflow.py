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

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.wording import count, percent, plural
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
from gradaudit.training import Training

_MARKS = 5  # vertical lines that a small chart can hold


def _marked(steps: int) -> str:
    """What the vertical lines of the chart are."""
    if steps > _MARKS:
        return f"the lines are the first {_MARKS} of the {count(steps)} steps skipped after the first fifth of the run."
    return f"the lines are the {plural(steps, 'step')} skipped after the first fifth of the run."


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps",),
    minimum_steps=10,
    explains=("no_learning", "fp16_underflow"),
)
def amp_overflow(
    training: Training,
    *,
    often: float = 0.05,  # a GradScaler that doubles its scale every 2,000 steps skips fewer than 1 in 1,000
    now_and_then: float = 0.01,  # ten times what the default growth interval gives
    least: float = 3,  # one or two skipped steps of a short run are no pattern
) -> Iterator[Verdict]:
    """Count the steps skipped after the first fifth of the run."""
    frame = training.steps
    skipped = frame["skipped"].fillna(False).to_numpy(dtype=bool)
    if not skipped.any() and not numpy.isfinite(frame["amp_scale"].to_numpy(dtype=float)).any():
        yield NotApplicable(reason="no GradScaler was seen")
        return
    settled = len(frame) // 5  # the scaler finds its scale in the beginning
    late = skipped[settled:]
    share = float(late.mean()) if len(late) else 0.0
    if not (share > often or (share > now_and_then and late.sum() >= least)):
        yield Clean(
            measured=f"the GradScaler skipped {plural(skipped.sum(), 'step')} of {count(len(frame))}, "
            f"{count(late.sum())} of them after the first fifth"
        )
        return
    steps = frame["global_step"].to_numpy()[settled:][late]
    yield Finding(
        severity=Severity.WARNING if share > often else Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title="AMP gradient overflow",
        headline=f"GradScaler skips {percent(share)} of the steps after the first fifth of the run, "
        f"{count(late.sum())} of {count(len(late))}",
        explanation="At these steps the scaled gradient overflowed: the scaler skipped the step of the optimizer and "
        "lowered "
        f"its scale. In the whole run it skipped {count(skipped.sum())} of {plural(len(skipped), 'step')}.",
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        evidence=[
            loss_chart(
                training,
                f"The training loss; {_marked(len(steps))}",
                [
                    Mark(label=f"first of {count(len(steps))} skipped" if index == 0 else "", x=int(step))
                    for index, step in enumerate(steps[:_MARKS])
                ],
            )
        ],
        actions=[
            Action(text="Use bfloat16, which needs no scaler", code="torch.autocast('cuda', dtype=torch.bfloat16)"),
            Action(
                text="Raise growth_interval, so that the scale is probed less often",
                code="GradScaler(growth_interval=4000)",
            ),
            Action(text="Look for activations near 65,504, the largest number of float16"),
        ],
        measures=[
            Measure(
                quantity="skipped steps after the first fifth",
                value=share,
                comparison=">",
                threshold=often,
                unit="fraction",
                option="often",
                decides="warning",
            ),
            *(
                []
                if share > often
                else [
                    Measure(
                        quantity="skipped steps after the first fifth",
                        value=share,
                        comparison=">",
                        threshold=now_and_then,
                        unit="fraction",
                        option="now_and_then",
                    ),
                    Measure(
                        quantity="their number",
                        value=late.sum(),
                        comparison=">=",
                        threshold=least,
                        unit="count",
                        option="least",
                    ),
                ]
            ),
        ],
    )
