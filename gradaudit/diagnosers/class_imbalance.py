"""Classes are imbalanced, and the model has learned little but their frequencies.

## What it looks for

The training labels as they were counted, up to `classes` classes. It is a note when the most frequent class occurs
`ratio` times as often as the rarest one that occurs at all, the loss has no class weights, and the last losses are less
than `gain` away from those of a predictor that knows the frequencies and nothing else. It is a note, too, when the
validation loss is never clearly below that of a uniform prediction: where the classes are distributed differently,
what was learned is worth nothing. Imbalance alone, which the model copes with, is not reported, and neither is a loss
above that of the frequencies: such a model has not even learned those. What explains the loss by itself, such as a
learning rate or overfitting, stands above it.

## Why it matters

A model that always predicts the frequent class has a good accuracy and a low loss, and is useless for the others.

## What to try

Look at the recall of each class. Draw the rare classes more often (WeightedRandomSampler) or weight the loss; both
change what the outputs mean as probabilities.

## When it is wrong

Labels that the input hardly determines stay near their frequencies with balanced classes too. A sampler that balances
the classes is taken into account, since the labels are counted as the loss gets them.
"""

import math
from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.labels import baseline_marks, label_bars
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, factor, number, percent, times
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
from gradaudit.signals.evaluation.validation import validation
from gradaudit.signals.loss.label_counts import label_counts
from gradaudit.signals.loss.progress import constant_level
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.training import Training

_EVALUATIONS = 3  # one at the start, in the middle and at the end
_CHANCE = 0.95  # of the logarithm of the classes: the first evaluation may lie a little below it by chance
# What explains the same losses whatever the labels are.
_WHATEVER_THE_LABELS = [
    "broadcast_loss",
    "constant_clipping",
    "dead_relu",
    "divergence",
    "double_softmax",
    "excessive_weight_decay",
    "exploding_gradient",
    "frozen_parameter",
    "learning_rate_schedule",
    "learning_rate_too_high",
    "learning_rate_too_low",
    "non_finite",
    "overfitting",
    "saturated_activation",
    "stale_gradient",
    "unreachable_target",
    "unscaled_input",
    "vanishing_gradient",
]


@diagnoser(
    per="training", worst=Severity.NOTE, needs=("steps",), minimum_steps=100, explains=("no_learning", "no_signal")
)
def class_imbalance(
    training: Training,
    *,
    ratio: float = 10.0,  # SageMaker Debugger's default
    gain: float = 0.1,  # of the loss of the frequencies; not measured: less is hardly more or less than those
    classes: float = 100,  # vocabularies are always uneven
) -> Iterator[Verdict]:
    """Compare the label counts, and the loss with that of the label frequencies."""
    loss = training_loss(training)
    if loss.not_interpretable or loss.facts is None:
        yield NotApplicable(reason=unclear_in_words(loss.not_interpretable) or "no loss function was seen")
        return
    counts = [amount for amount in label_counts(loss.facts) if amount]
    if loss.kind not in ("classification", "binary") or loss.facts.classes > classes:
        yield NotApplicable(
            reason=f"{loss.facts.function} has no classes"
            if loss.kind not in ("classification", "binary")
            else f"its {count(loss.facts.classes)} classes are a vocabulary, in which most are rare"
        )
        return
    if len(counts) < 2:
        yield Skipped(
            reason="the labels of fewer than two classes were counted",
            enable="use a torch.nn.functional loss that takes class indices",
        )
        return
    uneven = max(counts) / min(counts)
    level = constant_level(loss)
    gained = (level - loss.last) / level if level > 0 else math.nan
    diverged = diverges(training) is not None
    held_out = _at_chance(loss)
    at_frequencies = abs(gained) < gain
    harmed = at_frequencies or (gained >= gain and math.isfinite(held_out))
    if uneven < ratio or loss.facts.weighted or diverged or not harmed:
        side = "below" if gained > 0 else "above"
        beside = f"; the loss is {percent(abs(gained))} {side} what the frequencies alone give"
        yield Clean(
            measured=f"the most frequent class occurs {factor(uneven)} times as often as the rarest"
            + (beside if abs(gained) >= gain else "")
        )
        return
    share = max(counts) / sum(counts)
    chance = number(math.log(max(2, loss.facts.classes)))
    outcome = (
        f"the loss ends at {number(loss.last)} (class frequencies alone: {number(level)})"
        if at_frequencies
        else f"the validation loss is never below {number(held_out)} (chance level {chance})"
    )
    yield Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title="Class imbalance" if at_frequencies else "Class imbalance, validation at chance",
        headline=f"One class has {percent(share)} of the labels, and {outcome}",
        explanation=f"The most frequent class occurs {times(uneven)} times as often as the rarest. Always predicting "
        f"the class frequencies, whatever the input, gives {number(level)}; the loss ends at {number(loss.last)}."
        + (
            f" The best validation loss is {number(held_out)}; a uniform prediction over "
            f"{count(loss.facts.classes)} classes gives {chance}."
            if math.isfinite(held_out)
            else ""
        ),
        span=Span(first=int(loss.steps[0]), last=int(loss.steps[-1])),
        follows=_WHATEVER_THE_LABELS,
        evidence=[
            *label_bars(
                loss.facts, "How often each class was a target of the training loss, the most frequent one marked.",
                flagged=True,
            ),
            loss_chart(
                training,
                "The training loss against that of predictions that ignore the input. A model that has learned only "
                "how often each class occurs stays at the line of the label frequencies.",
                baseline_marks(loss, level),
            ),
        ],
        actions=[
            Action(text="Look at the recall of each class, not at the accuracy alone"),
            Action(text=f"Show the model the rare class up to {factor(math.sqrt(uneven))} times as often",
                   code="torch.utils.data.WeightedRandomSampler(weights, len(weights))"),
        ],
        measures=[
            Measure(quantity="most frequent / rarest class", value=uneven, comparison=">=", threshold=ratio,
                    option="ratio"),
            Measure(quantity="distance from the loss of the label frequencies", value=abs(gained), comparison="<",
                    threshold=gain, unit="fraction", option="gain", any_of="harm"),
            *([] if math.isnan(held_out) else [
                Measure(quantity="best validation loss / a uniform prediction's",
                        value=held_out / math.log(loss.facts.classes), comparison=">=", threshold=_CHANCE,
                        any_of="harm")]),
            Measure(quantity="classes", value=loss.facts.classes or len(counts), comparison="<=", threshold=classes,
                    unit="count", option="classes"),
        ],
    )  # fmt: skip


def _at_chance(loss: TrainingLoss) -> float:
    """The best validation loss where it is not clearly below a uniform prediction's; NaN where it is, or not known."""
    held_out = validation(loss.training.run)
    if held_out is None or loss.kind != "classification" or loss.facts is None or loss.facts.classes < 2:
        return math.nan
    values = held_out.losses[numpy.isfinite(held_out.losses)]
    if len(values) < _EVALUATIONS or values.min() < _CHANCE * math.log(loss.facts.classes):
        return math.nan
    return float(values.min())
