"""The model is trained in evaluation mode.

## What it looks for

The training flag of the root module at each step. More than `most` of the steps in evaluation mode is a warning. So is
a run that begins in training mode and whose last steps, at least `tail` of all, are in evaluation mode: `model.train()`
is missing after an evaluation. Only models with dropout or batch normalisation are judged. For others the mode changes
nothing.

## Why it matters

In evaluation mode dropout drops nothing, and batch normalisation uses running statistics that no longer follow the
data: they stay at 0 and 1 when they were never updated. The loss curve does not show it; such runs reached accuracies
from 0.69 to 0.95.

## What to try

Call `model.train()` at the start of every epoch, and again after each evaluation.

## When it is wrong

Fine-tuning with frozen batch normalisation sets the mode of those modules only, keeps the root in training mode, and is
not reported. A model that is tuned in evaluation mode as a whole on purpose is.
"""

from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.modes import mode_dependent, mode_matters
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
    Skipped,
    Span,
    Verdict,
)
from gradaudit.training import Training


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps.training",),
    minimum_steps=5,
    explains=("no_learning", "no_signal", "overfitting"),
)
def eval_mode_training(
    training: Training,
    *,
    most: float = 0.9,  # found 9 of 9 faulty runs, and none of 410 healthy ones
    tail: float = 0.2,  # of the steps; not measured: a run that ends with so many was not left so on purpose
) -> Iterator[Verdict]:
    """Count the steps made in evaluation mode."""
    frame = training.steps
    flags = frame["training"].to_numpy()[frame["micro_steps"].to_numpy() > 0]
    steps = frame["global_step"].to_numpy()[frame["micro_steps"].to_numpy() > 0]
    if not (flags >= 0).any():
        yield Skipped(
            reason="the mode of the model is not known",
            enable="train parameters that belong to a torch.nn.Module",
        )
        return
    off = flags == 0
    share = float(off.mean())
    on = numpy.flatnonzero(flags == 1)
    ending = len(flags) - 1 - int(on[-1]) if len(on) else len(flags)
    after = share <= most and ending / len(flags) > tail
    if share <= most and not after:
        yield Clean(
            measured=f"the model is in training mode at {count((flags == 1).sum())} of {plural(len(flags), 'step')}"
        )
        return
    if mode_matters(training.run) is False:
        yield NotApplicable(reason="the model has neither dropout nor batch normalisation: its mode changes nothing")
        return
    first = int(steps[len(flags) - ending]) if after else int(steps[numpy.argmax(off)])
    has = mode_dependent(training.run) or "modules that are not known"
    yield Finding(
        severity=Severity.WARNING if mode_matters(training.run) else Severity.NOTE,
        confidence=Confidence.CERTAIN if mode_matters(training.run) else Confidence.MEDIUM,
        title=f"Evaluation mode since step {count(first)}" if after else "Trained in evaluation mode",
        headline=(
            f"The model stays in evaluation mode from step {count(first)} on, {percent(ending / len(flags))} of "
            "the run"
            if after
            else f"The model is in evaluation mode at {count(off.sum())} of {plural(len(flags), 'training step')}"
        ),
        explanation=f"The model has {has}. In evaluation mode dropout does nothing, and batch normalisation neither "
        "uses "
        "nor updates the statistics of the batch."
        + (f" Up to step {count(first - 1)} the model is in training mode." if after else ""),
        span=Span(first=first, last=int(steps[-1])),
        evidence=[
            loss_chart(
                training,
                "The training loss seldom shows the mode; the mark is where evaluation mode begins.",
                [Mark(label="evaluation mode", x=first)],
            )
        ],
        actions=[
            Action(
                text="Go back to training mode after each evaluation"
                if after
                else "Switch to training mode before the first step",
                code="model.train()",
            ),
            Action(text="If only batch normalisation is meant to be frozen, switch those modules alone",
                   code="for m in model.modules():\n    if isinstance(m, nn.BatchNorm2d): m.eval()"),
        ],
        measures=[
            Measure(quantity="steps in evaluation mode", value=share, comparison=">", threshold=most,
                    unit="fraction", option="most", any_of="steps"),
            Measure(quantity="steps at the end, all in evaluation mode", value=ending / len(flags),
                    comparison=">", threshold=tail, unit="fraction", option="tail", any_of="steps"),
        ],
    )  # fmt: skip
