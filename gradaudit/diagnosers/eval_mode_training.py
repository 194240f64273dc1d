"""The model is trained in evaluation mode.

## What it looks for

The training flag of the root module at each step. More than `most` of the steps in evaluation mode is a warning. So is
a run that begins in training mode and whose last steps, at least `tail` of all, are in evaluation mode: `model.train()`
is missing after an evaluation. Only models with dropout or batch normalisation are judged, and only where some of it
belongs to what is trained. For others the mode changes nothing, or a frozen part is kept as it is.

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

import msgspec
import numpy

from gradaudit.chart_data import Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.modes import mode_dependent
from gradaudit.evidence.words.wording import count, percent, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.signals.run.modes import mode_matters, only_frozen_depend
from gradaudit.training import Training


class Limits(msgspec.Struct, frozen=True):
    """How many steps may be made in evaluation mode."""

    most: float = 0.9  # found 9 of 9 faulty runs, and none of 410 healthy ones
    tail: float = 0.2  # of the steps; not measured: a run that ends with so many was not left so on purpose


class EvaluationMode(Judged, frozen=True):
    """The model is trained in evaluation mode, all along or since some step."""

    off: int  # steps in evaluation mode
    steps: int
    share: float  # of the steps, in evaluation mode; a fraction
    ending: float  # of the steps, the last ones that all are in evaluation mode; a fraction
    since: int | None  # the global step from which on it is, after training mode before; None where it is all along
    modules_known: bool  # and some of them depend on the mode
    span: Span


class TrainingMode(Judged, frozen=True):
    """The model is in training mode, at nearly all steps."""

    on: int  # steps in training mode
    steps: int


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps.training",),
    minimum_steps=5,
    explains=("no_learning", "no_signal", "overfitting"),
)
def eval_mode_training(
    training: Training, limits: Limits
) -> Iterator[EvaluationMode | TrainingMode | NotApplicable | Skipped]:
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
    after = share <= limits.most and ending / len(flags) > limits.tail
    if share <= limits.most and not after:
        yield TrainingMode(on=len(on), steps=len(flags))
        return
    matters = mode_matters(training.run)
    if matters is False:
        yield NotApplicable(reason="the model has neither dropout nor batch normalisation: its mode changes nothing")
        return
    if only_frozen_depend(training):
        yield NotApplicable(reason="all dropout and batch normalisation belongs to parts that are not trained")
        return
    first = int(steps[len(flags) - ending]) if after else int(steps[numpy.argmax(off)])
    yield EvaluationMode(
        off=int(off.sum()),
        steps=len(flags),
        share=share,
        ending=ending / len(flags),
        since=first if after else None,
        modules_known=bool(matters),
        span=Span(first=first, last=int(steps[-1])),
    )


@eval_mode_training.tell
def _clean(found: TrainingMode) -> Clean:
    return Clean(measured=f"the model is in training mode at {count(found.on)} of {plural(found.steps, 'step')}")


@eval_mode_training.tell
def _finding(found: EvaluationMode, training: Training, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.WARNING if found.modules_known else Severity.NOTE,
        confidence=Confidence.CERTAIN if found.modules_known else Confidence.MEDIUM,
        title=f"Evaluation mode since step {count(found.since)}"
        if found.since is not None
        else "Trained in evaluation mode",
        headline=_headline(found),
        explanation=_explanation(found, training),
        span=found.span,
        evidence=[
            loss_chart(
                training,
                "The training loss seldom shows the mode; the mark is where evaluation mode begins.",
                [Mark(label="evaluation mode", x=found.span.first)],
            )
        ],
        actions=[
            Action(
                text="Switch to training mode before the first step"
                if found.since is None
                else "Go back to training mode after each evaluation",
                code="model.train()",
            ),
            Action(
                text="If only batch normalisation is meant to be frozen, switch those modules alone",
                code="for m in model.modules():\n    if isinstance(m, nn.BatchNorm2d): m.eval()",
            ),
        ],
        measures=[
            Measure(quantity="steps in evaluation mode", value=found.share, comparison=">", threshold=limits.most,
                    unit="fraction", option="most", any_of="steps"),
            Measure(quantity="steps at the end, all in evaluation mode", value=found.ending, comparison=">",
                    threshold=limits.tail, unit="fraction", option="tail", any_of="steps"),
        ],
    )  # fmt: skip


def _headline(found: EvaluationMode) -> str:
    if found.since is None:
        return f"The model is in evaluation mode at {count(found.off)} of {plural(found.steps, 'training step')}"
    return f"The model stays in evaluation mode from step {count(found.since)} on, {percent(found.ending)} of the run"


def _explanation(found: EvaluationMode, training: Training) -> str:
    before = "" if found.since is None else f" Up to step {count(found.since - 1)} the model is in training mode."
    return (
        f"The model has {mode_dependent(training.run) or 'modules that are not known'}. In evaluation mode dropout "
        f"does nothing, and batch normalisation neither uses nor updates the statistics of the batch.{before}"
    )
