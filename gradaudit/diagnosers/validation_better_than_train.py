"""The validation loss lies clearly below the training loss.

## What it looks for

The evaluations of the last half of the run, at least `evaluations` of them. A validation loss more than `margin` below
the training loss around it in `most` of them is a note. A training loss measured in evaluation mode can be compared,
and so can the running one of a model without dropout, batch normalisation and label smoothing. With dropout or batch
normalisation `noise` takes the place of `margin`: they raise the training loss, and only a gap that they rarely explain
is worth a note. Augmented training data or a leak look the same.

## Why it matters

No model predicts new data better than its training data. Either the training inputs are harder than those the model
will meet (augmentation, mixup), or the validation data is easier. Examples that are in both sets make the two losses
alike; the validation loss is then lower only where dropout or batch normalisation raises the training loss.

## What to try

Evaluate a fixed part of the training data in evaluation mode and without augmentation, and compare with that. Look
whether the validation data is easier: another source, no hard cases. Then look for examples that are in both sets, and
for near copies: neighbouring frames, the same patient, the same author.

## When it is wrong

Augmented or mixed training data is harder on purpose, and then this is as it should be. Batch normalisation in training
mode adds to the running loss. A small validation set can be easier by chance.
"""

import math
from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.chart_data import Lines
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import training_curve
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.validation import more_evaluations, unclear
from gradaudit.evidence.words.wording import count, factor, number, percent, plural, setting
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.generalisation import TrainingCurve, comparison
from gradaudit.signals.evaluation.validation import Evaluations, NoValidationLoss, validation
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.training_loss import adversarial, training_loss
from gradaudit.signals.order_statistics import median


class Limits(msgspec.Struct, frozen=True):
    """How far below the training loss a validation loss may lie."""

    margin: float = 0.2  # twice runmedic's, which is for any loss: healthy augmentation reaches 0.1
    noise: float = 0.7  # with dropout or batch normalisation; healthy dropout of a half reaches 0.53, of 0.8 0.83
    most: float = 0.7  # runmedic's share of the evaluations
    evaluations: float = 4  # in the last half; fewer are chance


class ValidationBelow(Judged, frozen=True):
    """The validation loss lies clearly below the training loss in most evaluations of the last half."""

    held_out: Evaluations
    train: TrainingCurve
    lower: int  # evaluations of the last half in which it is that far below
    evaluations: int  # of the last half
    share: float  # of these, in which it is that far below; a fraction
    below: float  # the distance / the training loss, median over the last half; a fraction
    below_where_lower: float  # the same, median over those that are that far below
    validation: float  # loss, median over the last half
    training: float  # loss at the same steps, median
    span: Span


class NotBelow(Judged, frozen=True):
    """The validation loss is not that far below the training loss."""

    held_out: Evaluations
    train: TrainingCurve
    evaluations: int  # of the last half
    below: float  # the distance / the training loss, median over the last half; NaN where none can be compared


class TooFewEvaluations(Judged, frozen=True):
    """The last half of the run has too few evaluations with a finite loss."""

    held_out: Evaluations
    finite: int  # evaluations of the last half


@diagnoser(worst=Severity.NOTE, needs=("evaluations.mean_loss",), minimum_steps=50)
def validation_better_than_train(
    run: Run, limits: Limits
) -> Iterator[ValidationBelow | NotBelow | TooFewEvaluations | NoValidationLoss | NotApplicable | Skipped]:
    """Compare each validation loss of the last half with the training losses around it."""
    held_out = validation(run)
    losses = [training_loss(training) for training in run.trainings]
    if held_out is None:
        yield NoValidationLoss()
        return
    if adversarial(run) or all(loss.not_interpretable for loss in losses):
        yield NotApplicable(
            reason=unclear_in_words(losses[0].not_interpretable)
            or "several optimizers minimise different losses in turn"
        )
        return
    train = comparison(run, losses)
    late = numpy.isfinite(held_out.losses) & (held_out.steps >= run.steps["global_step"].max() / 2)
    if not train.comparable and not train.noisy:
        yield Skipped(
            reason="the training loss is measured with label smoothing, or otherwise",
            enable="evaluate a part of the training data in evaluation mode",
        )
    elif late.sum() < limits.evaluations:
        yield TooFewEvaluations(held_out, int(late.sum()))
    else:
        steps, values = held_out.steps[late].astype(float), held_out.losses[late]
        around = train.at(steps)
        with numpy.errstate(divide="ignore", invalid="ignore"):
            below = (around - values) / numpy.abs(around)
        lower = below > (limits.noise if train.noisy else limits.margin)
        share = float(lower.mean())
        if share < limits.most or not share or any(diverges(training) is not None for training in run.trainings):
            yield NotBelow(held_out, train, len(steps), median(below))
            return
        yield ValidationBelow(
            held_out=held_out,
            train=train,
            lower=int(lower.sum()),
            evaluations=len(steps),
            share=share,
            below=median(below),
            below_where_lower=median(below[lower]),
            validation=median(values),
            training=median(around),
            span=Span(first=int(steps[0]), last=int(steps[-1])),
        )


@validation_better_than_train.tell
def _no_validation(found: NoValidationLoss, run: Run) -> Skipped:
    return unclear(run)


@validation_better_than_train.tell
def _too_few(found: TooFewEvaluations, limits: Limits) -> Skipped:
    return Skipped(
        reason=f"the last half of the run has {plural(found.finite, 'finite evaluation')}, and this check needs "
        f"{setting(limits.evaluations)}",
        enable=more_evaluations(found.held_out, limits.evaluations, " in the last half of the run"),
    )


@validation_better_than_train.tell
def _clean(found: NotBelow) -> Clean:
    evaluations = plural(found.evaluations, "evaluation")
    if not math.isfinite(found.below):
        return Clean(measured=f"none of {evaluations} can be compared")
    return Clean(
        measured=f"the {found.held_out.name} loss is {_beside(found.below)} the {found.train.name}, in the median of "
        f"the {evaluations} of the last half"
    )


@validation_better_than_train.tell
def _finding(found: ValidationBelow, limits: Limits) -> Finding:
    noisy = found.train.noisy
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.LOW if found.train.running else Confidence.MEDIUM,
        title="Validation loss below training loss",
        headline=f"The {found.held_out.name} loss is {percent(found.below)} below the training loss in "
        f"{count(found.lower)} of {plural(found.evaluations, 'evaluation')} of the last half",
        explanation=_explanation(found),
        span=found.span,
        evidence=[_chart(found)],
        actions=_actions(noisy),
        measures=[
            Measure(quantity="evaluations with a lower validation loss", value=found.share, comparison=">=",
                    threshold=limits.most, unit="fraction", option="most"),
            Measure(quantity="median distance of these", value=found.below_where_lower, comparison=">",
                    threshold=limits.noise if noisy else limits.margin, unit="fraction",
                    option="noise" if noisy else "margin"),
            Measure(quantity="evaluations in the last half", value=found.evaluations, comparison=">=",
                    threshold=limits.evaluations, unit="count", option="evaluations"),
        ],
    )  # fmt: skip


def _explanation(found: ValidationBelow) -> str:
    why = (
        "Dropout or batch normalisation in training mode may raise the training loss that much. Augmented training "
        "data or a leak look the same."
        if found.train.noisy
        else "A model does not predict new data better than its training data. Either the training inputs are "
        "harder, as augmentation and mixup make them, or the validation data is easier."
    )
    return (
        f"In the last half the {found.held_out.name} loss is {number(found.validation)}, and the {found.train.name} "
        f"at the same steps is {number(found.training)} (medians). {why}"
    )


def _chart(found: ValidationBelow) -> Lines:
    held_out = found.held_out
    return Lines(
        title="Training and validation loss",
        caption="The validation loss below the training loss: harder inputs in training, or easier validation data.",
        x_label="step",
        y_label="loss",
        series=[
            training_curve(found.train),
            plain(f"{held_out.name} loss", held_out.steps, held_out.losses, role="evaluation"),
        ],
    )


def _actions(noisy: bool) -> list[Action]:
    halve = [Action(text="Halve the dropout: does the validation loss get lower?")] if noisy else []
    return [
        Action(
            text="If the training data is augmented or mixed, this is as it should be: compare with a part of it "
            "without augmentation, in evaluation mode",
            code="evaluate(model, DataLoader(plain_train_set))",
        ),
        *halve,
        Action(
            text="If it is not, look for examples that are in both sets, and for near copies: there must be 0",
            code="set(map(hash_of, train)) & set(map(hash_of, validation))",
        ),
        Action(text="Split by group (person, document, day) instead of by example"),
    ]


def _beside(below: float) -> str:
    """How a loss lies to another, before its name: `below` is the share by which it is lower."""
    if below < -2:
        return f"{factor(1 - below)} times"
    return f"{percent(abs(below))} {'below' if below > 0 else 'above'}"
