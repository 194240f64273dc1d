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

from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import training_curve
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.validation import more_evaluations, unclear
from gradaudit.evidence.words.wording import count, factor, number, percent, plural, setting
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Lines,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
)
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.generalisation import comparison
from gradaudit.signals.evaluation.validation import validation
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.training_loss import adversarial, training_loss
from gradaudit.signals.order_statistics import median


@diagnoser(worst=Severity.NOTE, needs=("evaluations.mean_loss",), minimum_steps=50)
def validation_better_than_train(
    run: Run,
    *,
    margin: float = 0.2,  # twice runmedic's, which is for any loss: healthy augmentation reaches 0.1
    noise: float = 0.7,  # with dropout or batch normalisation; healthy dropout of a half reaches 0.53, of 0.8 0.83
    most: float = 0.7,  # runmedic's share of the evaluations
    evaluations: float = 4,  # in the last half; fewer are chance
) -> Iterator[Verdict]:
    """Compare each validation loss of the last half with the training losses around it."""
    held_out = validation(run)
    losses = [training_loss(training) for training in run.trainings]
    if held_out is None:
        yield unclear(run)
        return
    if adversarial(run) or all(loss.not_interpretable for loss in losses):
        yield NotApplicable(
            reason=unclear_in_words(losses[0].not_interpretable)
            or "several optimizers minimise different losses in turn"
        )
        return
    train = comparison(run, losses)
    comparable = train.comparable or train.noisy
    least = noise if train.noisy else margin
    late = numpy.isfinite(held_out.losses) & (held_out.steps >= run.steps["global_step"].max() / 2)
    steps, values = held_out.steps[late].astype(float), held_out.losses[late]
    if not comparable or len(steps) < evaluations:
        yield Skipped(
            reason="the training loss is measured with label smoothing, or otherwise"
            if not comparable
            else f"the last half of the run has {plural(len(steps), 'finite evaluation')}, and this check needs "
            f"{setting(evaluations)}",
            enable="evaluate a part of the training data in evaluation mode" if not comparable
            else more_evaluations(held_out, evaluations, " in the last half of the run"),
        )  # fmt: skip
        return
    around = train.at(steps)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        below = (around - values) / numpy.abs(around)
    share = float((below > least).mean())
    if any(diverges(training) is not None for training in run.trainings) or share < most or not share:
        typical = median(below)
        yield Clean(
            measured=f"the {held_out.name} loss is {_beside(typical)} the {train.name}, in the median of "
            f"the {plural(len(steps), 'evaluation')} of the last half"
            if numpy.isfinite(typical)
            else f"none of {plural(len(steps), 'evaluation')} can be compared"
        )
        return
    yield Finding(
        severity=Severity.NOTE,
        confidence=Confidence.LOW if train.name.endswith("(running)") else Confidence.MEDIUM,
        title="Validation loss below training loss",
        headline=f"The {held_out.name} loss is {percent(median(below))} below the training loss in "
        f"{count((below > least).sum())} of {plural(len(steps), 'evaluation')} of the last half",
        explanation=f"In the last half the {held_out.name} loss is {number(median(values))}, and the {train.name} at "
        "the same "
        f"steps is {number(median(around))} (medians). "
        + (
            "Dropout or batch normalisation in training mode may raise the training loss that much. Augmented training "
            "data or a leak look the same."
            if train.noisy
            else "A model does not predict new data better than its training data. Either the training inputs are "
            "harder, as augmentation and mixup make them, or the validation data is easier."
        ),
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        evidence=[
            Lines(
                title="Training and validation loss",
                caption="The validation loss below the training loss: harder inputs in training, or easier validation "
                "data.",
                x_label="step",
                y_label="loss",
                series=[
                    training_curve(train),
                    plain(f"{held_out.name} loss", held_out.steps, held_out.losses, role="evaluation"),
                ],
            )
        ],
        actions=[
            Action(text="If the training data is augmented or mixed, this is as it should be: compare with a part of "
                   "it without augmentation, in evaluation mode", code="evaluate(model, DataLoader(plain_train_set))"),
            *(
                [Action(text="Halve the dropout: does the validation loss get lower?")] if train.noisy else []
            ),
            Action(text="If it is not, look for examples that are in both sets, and for near copies: there must be 0",
                   code="set(map(hash_of, train)) & set(map(hash_of, validation))"),
            Action(text="Split by group (person, document, day) instead of by example"),
        ],
        measures=[
            Measure(quantity="evaluations with a lower validation loss", value=share, comparison=">=",
                    threshold=most, unit="fraction", option="most"),
            Measure(quantity="median distance of these", value=median(below[below > least]),
                    comparison=">", threshold=least, unit="fraction", option="noise" if train.noisy else "margin"),
            Measure(quantity="evaluations in the last half", value=len(steps), comparison=">=",
                    threshold=evaluations, unit="count", option="evaluations"),
        ],
    )  # fmt: skip


def _beside(below: float) -> str:
    """How a loss lies to another, before its name: `below` is the share by which it is lower."""
    if below < -2:
        return f"{factor(1 - below)} times"
    return f"{percent(abs(below))} {'below' if below > 0 else 'above'}"
