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

import msgspec
import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.labels import baseline_marks, label_bars
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, factor, number, percent, times
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.schema import LossFacts
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
    "activation_before_loss",
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


class Limits(msgspec.Struct, frozen=True):
    """From where on classes are imbalanced, and have done harm."""

    ratio: float = 10.0  # SageMaker Debugger's default
    gain: float = 0.1  # of the loss of the frequencies; not measured: less is hardly more or less than those
    classes: float = 100  # vocabularies are always uneven


class Imbalance(Judged, frozen=True):
    """One class is far more frequent than another, and the model has learned little else."""

    loss: TrainingLoss
    facts: LossFacts
    classes: int
    ratio: float  # of the most frequent class to the rarest one that occurs
    share: float  # of the labels that are of the most frequent class
    frequencies: float  # nats: the loss of always predicting the label frequencies
    gained: float  # how far the last losses are below that, as a share of it
    at_frequencies: bool  # the last losses are near it; else the validation loss is at chance
    held_out: float  # nats: the best validation loss, where it is at chance; NaN where it is better, or not known
    chance: float  # nats: the loss of a uniform prediction
    span: Span


class NoHarm(Judged, frozen=True):
    """The labels are even enough, or the model has learned more, or less, than their frequencies."""

    ratio: float  # of the most frequent class to the rarest one that occurs
    gained: float  # how far the last losses are below those of the label frequencies, as a share of these
    apart: bool  # the last losses are clearly above or below those of the label frequencies


class NoClasses(Judged, frozen=True):
    """The loss does not compare with classes."""

    function: str


class Vocabulary(Judged, frozen=True):
    """So many classes that most are rare."""

    classes: int


@diagnoser(
    per="training", worst=Severity.NOTE, needs=("steps",), minimum_steps=100, explains=("no_learning", "no_signal")
)
def class_imbalance(
    training: Training, limits: Limits
) -> Iterator[Imbalance | NoHarm | NoClasses | Vocabulary | NotApplicable | Skipped]:
    """Compare the label counts, and the loss with that of the label frequencies."""
    loss = training_loss(training)
    facts = loss.facts
    if loss.not_interpretable or facts is None:
        yield NotApplicable(reason=unclear_in_words(loss.not_interpretable) or "no loss function was seen")
    elif loss.kind not in ("classification", "binary"):
        yield NoClasses(facts.function)
    elif facts.classes > limits.classes:
        yield Vocabulary(facts.classes)
    elif len(counts := [amount for amount in label_counts(facts) if amount]) < 2:
        yield Skipped(
            reason="the labels of fewer than two classes were counted",
            enable="use a torch.nn.functional loss that takes class indices",
        )
    else:
        yield _compared(loss, facts, counts, limits)


def _compared(loss: TrainingLoss, facts: LossFacts, counts: list[float], limits: Limits) -> Imbalance | NoHarm:
    ratio = max(counts) / min(counts)
    frequencies = constant_level(loss)
    gained = (frequencies - loss.last) / frequencies if frequencies > 0 else math.nan
    held_out = _at_chance(loss, facts)
    at_frequencies = abs(gained) < limits.gain
    harmed = at_frequencies or (gained >= limits.gain and math.isfinite(held_out))
    if ratio < limits.ratio or facts.weighted or diverges(loss.training) is not None or not harmed:
        return NoHarm(ratio=ratio, gained=gained, apart=abs(gained) >= limits.gain)
    return Imbalance(
        loss=loss,
        facts=facts,
        classes=facts.classes or len(counts),
        ratio=ratio,
        share=max(counts) / sum(counts),
        frequencies=frequencies,
        gained=gained,
        at_frequencies=at_frequencies,
        held_out=held_out,
        chance=math.log(max(2, facts.classes)),
        span=Span(first=int(loss.steps[0]), last=int(loss.steps[-1])),
    )


def _at_chance(loss: TrainingLoss, facts: LossFacts) -> float:
    """The best validation loss where it is not clearly below a uniform prediction's; NaN where it is, or not known."""
    held_out = validation(loss.training.run)
    if held_out is None or loss.kind != "classification" or facts.classes < 2:
        return math.nan
    values = held_out.losses[numpy.isfinite(held_out.losses)]
    if len(values) < _EVALUATIONS or values.min() < _CHANCE * math.log(facts.classes):
        return math.nan
    return float(values.min())


@class_imbalance.tell
def _no_classes(found: NoClasses) -> NotApplicable:
    return NotApplicable(reason=f"{found.function} has no classes")


@class_imbalance.tell
def _vocabulary(found: Vocabulary) -> NotApplicable:
    return NotApplicable(reason=f"its {count(found.classes)} classes are a vocabulary, in which most are rare")


@class_imbalance.tell
def _no_harm(found: NoHarm) -> Clean:
    measured = f"the most frequent class occurs {factor(found.ratio)} times as often as the rarest"
    if found.apart:
        side = "below" if found.gained > 0 else "above"
        measured += f"; the loss is {percent(abs(found.gained))} {side} what the frequencies alone give"
    return Clean(measured=measured)


@class_imbalance.tell
def _finding(found: Imbalance, training: Training, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title="Class imbalance" if found.at_frequencies else "Class imbalance, validation at chance",
        headline=f"One class has {percent(found.share)} of the labels, and {_outcome(found)}",
        explanation=_explanation(found),
        span=found.span,
        follows=_WHATEVER_THE_LABELS,
        evidence=[
            *label_bars(
                found.facts, "How often each class was a target of the training loss, the most frequent one marked.",
                flagged=True,
            ),
            loss_chart(
                training,
                "The training loss against that of predictions that ignore the input. A model that has learned only "
                "how often each class occurs stays at the line of the label frequencies.",
                baseline_marks(found.loss, found.frequencies),
            ),
        ],
        actions=[
            Action(text="Look at the recall of each class, not at the accuracy alone"),
            Action(text=f"Show the model the rare class up to {factor(math.sqrt(found.ratio))} times as often",
                   code="torch.utils.data.WeightedRandomSampler(weights, len(weights))"),
        ],
        measures=_measures(found, limits),
    )  # fmt: skip


def _outcome(found: Imbalance) -> str:
    """What became of the loss that shows the harm, after "and"."""
    if found.at_frequencies:
        return f"the loss ends at {number(found.loss.last)} (class frequencies alone: {number(found.frequencies)})"
    return f"the validation loss is never below {number(found.held_out)} (chance level {number(found.chance)})"


def _explanation(found: Imbalance) -> str:
    said = (
        f"The most frequent class occurs {times(found.ratio)} times as often as the rarest. Always predicting the "
        f"class frequencies, whatever the input, gives {number(found.frequencies)}; the loss ends at "
        f"{number(found.loss.last)}."
    )
    if math.isfinite(found.held_out):
        said += (
            f" The best validation loss is {number(found.held_out)}; a uniform prediction over "
            f"{count(found.facts.classes)} classes gives {number(found.chance)}."
        )
    return said


def _measures(found: Imbalance, limits: Limits) -> list[Measure]:
    at_chance = [
        Measure(quantity="best validation loss / a uniform prediction's", value=found.held_out / found.chance,
                comparison=">=", threshold=_CHANCE, any_of="harm")
    ]  # fmt: skip
    return [
        Measure(quantity="most frequent / rarest class", value=found.ratio, comparison=">=", threshold=limits.ratio,
                option="ratio"),
        Measure(quantity="distance from the loss of the label frequencies", value=abs(found.gained), comparison="<",
                threshold=limits.gain, unit="fraction", option="gain", any_of="harm"),
        *([] if math.isnan(found.held_out) else at_chance),
        Measure(quantity="classes", value=found.classes, comparison="<=", threshold=limits.classes, unit="count",
                option="classes"),
    ]  # fmt: skip
