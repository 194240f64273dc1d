"""Gradients of earlier steps are still in the sum when the optimizer steps.

## What it looks for

At every backward pass the recorder looks whether the gradients of the optimizer's parameters are absent or zero. A
step before which that never happened adds its gradient to those before it. More than `always` of the steps is
critical, more than `often` a warning, which is what a `zero_grad()` on only some of the steps leaves. At least
`least_steps` steps are needed.

## Why it matters

The sum of all gradients so far points where the model was pointed long ago, and it grows with every step. The run
behaves as if it had a momentum of 1: it overshoots, oscillates and often diverges.

## What to try

Call `optimizer.zero_grad()` once for each `optimizer.step()`, before the backward pass. When gradients are accumulated
over several batches on purpose, step and zero together, after the last of them.

## When it is wrong

The flag is exact for gradients that live in `.grad`. It looks at the first elements of up to four tensors; a script
that sets some gradients to zero by hand and keeps the others can mislead it.
"""

from collections.abc import Iterator

import msgspec

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart, norm_chart
from gradaudit.evidence.words.wording import count, percent, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, Severity, Skipped, Span
from gradaudit.training import Training


class Limits(msgspec.Struct, frozen=True):
    """From which share of the steps on gradients are not zeroed."""

    always: float = 0.9  # all 18 runs without zero_grad have 1.0, all 260 healthy ones 0
    often: float = 0.2  # zero_grad on every second step leaves 0.5; healthy runs have 0
    least_steps: float = 3  # one leftover gradient may be a warm-up backward


class NotZeroed(Judged, frozen=True):
    """Steps whose gradients were not zeroed since the step before."""

    stale: int  # steps
    known: int  # steps of which it is known
    share: float  # of these, as a fraction
    never: bool  # zeroed: at more than `always` of the steps
    span: Span


class Zeroed(Judged, frozen=True):
    """Gradients are zeroed before nearly all steps."""

    zeroed: int  # steps
    known: int  # steps of which it is known


class TooFewSteps(Judged, frozen=True):
    """Whether gradients were zeroed is known of fewer steps than a verdict needs."""

    known: int  # steps


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("steps.stale",),
    minimum_steps=3,
    explains=(
        "gradient_growth",
        "divergence",
        "learning_rate_too_high",
        "non_finite",
        "no_learning",
        "constant_clipping",
        "layer_imbalance",
        "initial_loss_mismatch",
        "loss_spike",
        "unstable_loss",
    ),
)
def stale_gradient(training: Training, limits: Limits) -> Iterator[NotZeroed | Zeroed | TooFewSteps]:
    """Count the steps whose gradients were not zeroed since the step before."""
    frame = training.steps
    flags = frame["stale"].to_numpy()
    known = int((flags >= 0).sum())
    if known < limits.least_steps:
        yield TooFewSteps(known)
        return
    stale = flags == 1
    share = float(stale.sum() / known)
    if share <= min(limits.often, limits.always):
        yield Zeroed(zeroed=int((flags == 0).sum()), known=known)
        return
    steps = frame["global_step"].to_numpy()[stale]
    yield NotZeroed(
        stale=len(steps),
        known=known,
        share=share,
        never=share > limits.always,
        span=Span(first=int(steps[0]), last=int(steps[-1])),
    )


@stale_gradient.tell
def _too_few(found: TooFewSteps) -> Skipped:
    return Skipped(
        reason=f"whether gradients were zeroed is known of {plural(found.known, 'step')}",
        enable="call loss.backward(); torch.autograd.grad leaves nothing to look at",
    )


@stale_gradient.tell
def _zeroed(found: Zeroed) -> Clean:
    return Clean(measured=f"gradients were zeroed before {count(found.zeroed)} of {plural(found.known, 'step')}")


@stale_gradient.tell
def _finding(found: NotZeroed, training: Training, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.CRITICAL if found.never else Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Gradients not zeroed" if found.never else "Gradients zeroed too rarely",
        headline=f"Gradients of earlier steps are still in the sum at {count(found.stale)} of "
        f"{plural(found.known, 'step')} ({percent(found.share)})",
        explanation="Each of these backward passes adds to a gradient that the optimizer has already used. "
        + (
            "The optimizer steps along the sum of all gradients since the start."
            if found.never
            else "At the other steps the gradients are zeroed: zero_grad() is called less often than step()."
        ),
        span=found.span,
        evidence=[
            norm_chart(
                training,
                "The norm of the gradient that the optimizer was given. A sum that is never zeroed keeps growing, or "
                "oscillates.",
                [],
            ),
            loss_chart(training, "The training loss over the same steps.", []),
        ],
        actions=_actions(found),
        measures=[
            Measure(quantity="steps whose gradients were not zeroed since the step before", value=found.share,
                    comparison=">", threshold=limits.always if found.never else limits.often, unit="fraction",
                    option="always" if found.never else "often"),
            Measure(quantity="steps of which it is known", value=found.known, comparison=">=",
                    threshold=limits.least_steps, unit="count", option="least_steps"),
        ],
    )  # fmt: skip


def _actions(found: NotZeroed) -> list[Action]:
    return [
        Action(
            text=f"Zero the gradients before each of the {count(found.stale)} backward passes"
            if found.never
            else f"Zero the gradients at every step, not at {percent(1 - found.share)} of them",
            code="optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
        ),
        Action(
            text="If gradients are accumulated on purpose, over 4 batches for example, call step() and zero_grad() "
            "together, after every 4th backward pass"
        ),
    ]
