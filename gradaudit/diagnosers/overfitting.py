"""The model overfits: the validation loss rises while the training loss goes on falling.

## What it looks for

The best evaluation of the validation split, with at least `later` evaluations after it. The median of the last three is
compared with the median of the best and its two neighbours: a warning when it lies above by more than `rise` of what
training had gained until then and by more than `share` of the best loss, while the training loss fell by more than
`fell` since. Without such a rise, it is a note when the last three validation losses lie above the training loss by
more than `gap` of the first validation loss. The training loss of that gap is the one measured in evaluation mode; the
running training loss stands in only for models without dropout.

The rise must also be larger than `scatter` times the usual jump from one evaluation to the next (the median second
difference), unless the training loss has fallen by more than `fell_far` since the best: a small validation set is
noisy. Three or four evaluations are enough where each after the best lies above it by more than `few` of it, the last
one most, while the training loss has fallen by more than `fell_far`. Where less than a third of what training gains
before the first evaluation, within two epochs, carries over, it says so, and asks first whether both losses are
measured in the same way.

## Why it matters

After the best evaluation the model memorises the training examples. The last checkpoint is worse than one that the run
has already had, and the steps since then were for nothing.

## What to try

Keep the checkpoint of the best evaluation and stop early, with a patience of `patience` evaluations or more. Then, in
this order: more data or augmentation, weight decay and dropout, a smaller model. Where even the best evaluation is no
better than a constant prediction, no checkpoint is worth keeping: see `no_signal` first.

## When it is wrong

A small validation set is noisy. A cross-entropy can rise from overconfidence while the accuracy still improves: look
at the metric you care about. A validation set from another distribution shows a gap without overfitting, and a count
(Poisson) loss has a gap of 0.4 in healthy runs.
"""

import math
from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.validation import gap_chart, rise_chart
from gradaudit.evidence.words.early_gap import early_gap_sentences, measure_alike
from gradaudit.evidence.words.held_out_rise import rise_actions, rise_measures, when_evaluated
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.validation import more_evaluations, unclear
from gradaudit.evidence.words.wording import count, number, percent, plural
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
)
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.early_gap import EarlyGap, early_gap
from gradaudit.signals.evaluation.generalisation import (
    FEWEST,
    LEAST_EVALUATIONS,
    EarlyStop,
    Rise,
    RiseLimits,
    distance_at_end,
    held_out_rise,
    stopped_early,
)
from gradaudit.signals.evaluation.held_out_constant import held_out_constant
from gradaudit.signals.evaluation.validation import Evaluations, NoValidationLoss, validation
from gradaudit.signals.evaluation.validation_losses import ValidationLosses, validation_losses
from gradaudit.signals.loss.progress import divergence, no_better_share
from gradaudit.signals.loss.training_loss import TrainingLoss, adversarial, training_loss
from gradaudit.signals.order_statistics import Floats

_ROUNDING = 1e-6  # eight times float32's; a divergence of two equal distributions came to 8e-10 beside a loss of 2.2
_GAP_FROM_START = "Train-validation gap from the start"


class Limits(RiseLimits, frozen=True):
    """From where on a rise of the validation loss, or a gap to the training loss, is overfitting."""

    gap: float = 0.25  # small healthy data sets reach 0.26, hence only a note
    patience: float = 3  # evaluations; the shortest that the advice on early stopping proposes


class Overfitting(Judged, frozen=True):
    """The validation loss rises while the training loss falls."""

    losses: ValidationLosses
    rise: Rise
    train_then: float  # training loss at the best evaluation
    train_now: float  # training loss at the last evaluation
    constant: float  # loss of a constant prediction, where the best is no better than it; else NaN
    early: EarlyGap | None  # the validation loss is above the training loss from the start
    stop: EarlyStop


class GeneralisationGap(Judged, frozen=True):
    """The validation loss ends far above the training loss, without a rise."""

    losses: ValidationLosses
    final: float  # validation loss, median of the last three
    distance: float  # of the two losses, medians of the last three
    share: float  # distance / first validation loss, a fraction
    early: EarlyGap | None  # the validation loss is above the training loss from the start


class LossesTogether(Judged, frozen=True):
    """Neither a rise nor a gap."""

    losses: ValidationLosses
    final: float  # validation loss, median of the last three
    distance: float  # above the training loss; NaN where that cannot be compared


class TooFewEvaluations(Judged, frozen=True):
    """Too few evaluations have a finite loss."""

    held_out: Evaluations
    finite: int  # evaluations
    enough_if_clear: bool  # for a rise beyond doubt, and there is none


@diagnoser(worst=Severity.WARNING, needs=("evaluations.mean_loss",), minimum_steps=5)
def overfitting(
    run: Run, limits: Limits
) -> Iterator[Overfitting | GeneralisationGap | LossesTogether | TooFewEvaluations | NoValidationLoss | NotApplicable]:
    """Compare the last validation losses with the best one, and with the training loss."""
    held_out = validation(run)
    training = [training_loss(each) for each in run.trainings]
    if held_out is None:
        yield NoValidationLoss()
    elif adversarial(run) and all(loss.not_interpretable for loss in training):
        yield NotApplicable(reason=unclear_in_words(training[0].not_interpretable))
    else:
        yield _judge(run, held_out, training, limits)


def _judge(
    run: Run, held_out: Evaluations, training: list[TrainingLoss], limits: Limits
) -> Overfitting | GeneralisationGap | LossesTogether | TooFewEvaluations:
    losses = validation_losses(run, held_out, training)
    steps, values, train = losses.steps, losses.values, losses.train
    rise = held_out_rise(values, train, steps, limits) if len(values) >= FEWEST else None
    diverged = any(divergence(each) is not None for each in run.trainings)
    if rise is not None and rise.clear and not diverged and not _is_zero(values, training):
        return _overfitting(run, losses, training, rise, limits)
    if rise is None or len(values) < LEAST_EVALUATIONS:
        return TooFewEvaluations(held_out, len(values), enough_if_clear=rise is not None)
    distance, first = distance_at_end(train, steps, rise.final), float(values[0])
    # A first loss near zero, as of a model that starts as the identity, is no measure for a gap.
    if distance > limits.gap * max(first, rise.final) and first > 0 and not diverged:
        early = early_gap(run, training, train, steps, values)
        return GeneralisationGap(losses, rise.final, distance, distance / first, early)
    return LossesTogether(losses, rise.final, distance)


def _is_zero(values: Floats, training: list[TrainingLoss]) -> bool:
    """Whether losses lie about zero by no more than rounding leaves of numbers as large as the first training loss."""
    first = max((abs(loss.first) for loss in training if math.isfinite(loss.first)), default=0.0)
    return bool(numpy.nanmin(values) <= 0 and numpy.nanmax(numpy.abs(values)) <= _ROUNDING * first)


def _overfitting(
    run: Run, losses: ValidationLosses, training: list[TrainingLoss], rise: Rise, limits: Limits
) -> Overfitting:
    steps, values = losses.steps, losses.values
    judged = [loss for loss in training if not loss.not_interpretable]
    constant = held_out_constant(run, judged)[0] if judged else math.nan
    then, now = map(float, losses.train.at(steps[[rise.best, -1]]))
    return Overfitting(
        losses=losses,
        rise=rise,
        train_then=then,
        train_now=now,
        constant=constant if losses.best >= no_better_share(run) * constant else math.nan,
        early=early_gap(run, training, losses.train, steps, values),
        stop=stopped_early(values, steps, losses.last_step, max(1, int(min(limits.patience, rise.later)))),
    )


@overfitting.tell
def _no_validation(found: NoValidationLoss, run: Run) -> Skipped:
    return unclear(run)


@overfitting.tell
def _too_few(found: TooFewEvaluations) -> Skipped:
    doubt = ", or a rise beyond doubt" if found.enough_if_clear else ""
    return Skipped(
        reason=f"only {plural(found.finite, 'finite evaluation')} of the {found.held_out.name} loss recorded, and this "
        f"check needs {LEAST_EVALUATIONS}{doubt}",
        enable=more_evaluations(found.held_out, LEAST_EVALUATIONS),
    )


@overfitting.tell
def _clean(found: LossesTogether) -> Clean:
    losses = found.losses
    side = "above" if found.distance > 0 else "below"
    apart = f", {number(abs(found.distance))} {side} the {losses.train.name} there"
    return Clean(
        measured=f"the last three {losses.split} losses have a median of {number(found.final)}"
        f"{'' if math.isnan(found.distance) else apart}; the best of all is {number(losses.best)}, "
        f"{when_evaluated(losses.best_step, losses.last_step)}"
    )


@overfitting.tell
def _rising(found: Overfitting, limits: Limits) -> Finding:
    losses = found.losses
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        title=_title(found),
        headline=_headline(found),
        explanation=_explanation(found),
        span=Span(first=max(losses.best_step, 0), last=losses.last_step),
        evidence=[rise_chart(losses, found.rise)],
        actions=[*(measure_alike() if found.early else []), *rise_actions(losses, found.stop, found.constant)],
        measures=rise_measures(found.rise, losses.best, limits),
    )


@overfitting.tell
def _apart(found: GeneralisationGap, limits: Limits) -> Finding:
    losses, first = found.losses, float(found.losses.values[0])
    how = losses.train.name.removeprefix("training loss ").strip("()")
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title=_GAP_FROM_START if found.early else "Generalisation gap",
        headline=f"The {losses.split} loss ends at {number(found.final)}, {number(found.distance)} above the training "
        f"loss{', and is above it from the start' if found.early else ''}",
        explanation=(f"{early_gap_sentences(found.early)} " if found.early else "")
        + f"The gap is {percent(found.share)} of the first {losses.split} loss, {number(first)}. The {losses.split} "
        f"loss itself does not rise. Both losses are medians over the last three evaluations (training: {how}).",
        span=Span(first=max(int(losses.steps[0]), 0), last=losses.last_step),
        evidence=[gap_chart(losses)],
        actions=[
            *(measure_alike() if found.early else []),
            Action(
                text=f"Train on more data, or augment what there is, until the gap is below {percent(limits.gap)} of "
                f"the first loss, {number(limits.gap * first)}"
            ),
            Action(text="Check that both splits come from the same distribution"),
        ],
        measures=[
            Measure(quantity="gap / first validation loss", value=found.share, comparison=">", threshold=limits.gap,
                    option="gap")
        ],
    )  # fmt: skip


def _title(found: Overfitting) -> str:
    if found.early:
        return _GAP_FROM_START
    if not math.isnan(found.constant):
        return "Overfitting without generalisation"
    step = found.losses.best_step
    return f"Overfitting since step {count(step)}" if step >= 0 else "Overfitting from the start"


def _headline(found: Overfitting) -> str:
    losses, best, final = found.losses, number(found.losses.best), number(found.rise.final)
    when = when_evaluated(losses.best_step)
    if found.early:
        return f"The {losses.split} loss is above the training loss from the start, and rises from {best} to {final}"
    return f"The {losses.split} loss rises from {best} {when} to {final} while the training loss falls"


def _explanation(found: Overfitting) -> str:
    losses, final = found.losses, found.rise.final
    best = when_evaluated(losses.best_step, losses.last_step)
    above = percent(final / losses.best - 1) if losses.best > 0 else number(final)
    sentences = [
        f"The best of {count(len(losses.values))} evaluations was {best}; the "
        f"{'last' if found.rise.of_few else 'median of the last three'} is {above} above it. Meanwhile the "
        f"{losses.train.name} went from {number(found.train_then)} to {number(found.train_now)}."
    ]
    if found.early:
        sentences.append(early_gap_sentences(found.early))
    if not math.isnan(found.constant):
        sentences.append(f"A constant prediction gives {number(found.constant)}, and no evaluation is clearly better.")
    return " ".join(sentences)
