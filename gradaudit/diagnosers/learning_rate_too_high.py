"""The learning rate is too high: updates replace the weights instead of adjusting them.

## What it looks for

The update-to-weight ratio: the size of one update over that of the weights (the median over the weight layers), at its
largest over the run. Above `note` it is a note, and a warning when the loss overshoots at once,
by more than batches differ: the median of steps 1 to 5 at `overshoot` times the first loss, or one of the first ten
steps at `jump` times it. Above `alone` it is a warning, too, when the run ends with `kept` of its first loss or more,
or with `kept` of that of a constant prediction: the frequencies of the labels, or the mean of the target. It is
one from `with_symptom` on where the median weight layer grows `grown` times within ten steps as well: a warmup or a
clip threshold spreads one step that is too large over several.
It is critical above `with_symptom` when training diverges, ends in NaN after growing, or learns nothing in `epochs`
epochs (`steps` steps when the epochs are not known). A loss that shows no harm is no reason for a warning.

## Why it matters

A step that changes a layer by half of its own size destroys what the layer had learned. Units die, the loss jumps, and
afterwards the updates can look small, because dead units receive no gradient: only the early maximum shows it.

## What to try

A learning rate at which the first update that is too large becomes a tenth of the weights; where only the first steps
are too large, a warmup over the first 100; or clipping the gradient norm. With SGD, check that the loss is averaged
over the batch and that inputs and targets are standardised.

## When it is wrong

Adagrad and RMSprop make one large first step (up to 0.47 in healthy runs), and a one-layer model can take large steps
(0.35). A missing warmup and a learning rate that is too high look the same here. Layers that start at zero, and weights
that weight decay has shrunk below 0.3 of their start, are left out. Where the loss diverges and most of the steps
before were not recorded, the check is skipped.
"""

import math
from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.chart_data import Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart, update_chart
from gradaudit.evidence.words.clipping import clip_norm
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.run_numbers import update_size
from gradaudit.evidence.words.schedules import hold
from gradaudit.evidence.words.stable_learning_rate import slower
from gradaudit.evidence.words.step_harm import harm_measures, harm_sentence, size_measures
from gradaudit.evidence.words.wording import count, factor, number, setting
from gradaudit.findings import Action, Clean, Confidence, Finding, NotApplicable, Severity, Skipped, Span
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.loss.step_harm import Failure, Harm, Overshoot, failure, little_gain, overshooting
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, Mask, largest, median
from gradaudit.signals.updates.increasing_schedule import IncreasingSchedule, increasing_schedule
from gradaudit.signals.updates.learning_rates import is_adaptive, line_search, maximizes, optimizer_class
from gradaudit.signals.updates.ratios import largest_updates, last_half, median_update_ratio
from gradaudit.signals.updates.stable_learning_rate import AIM, StableLearningRate, rates_at, stable_learning_rate
from gradaudit.signals.updates.weight_growth import fastest_growth
from gradaudit.training import Training

_EARLY = 10  # recorded steps
_LEAD_UP = 20  # steps before divergence, or at the start: SGD's updates grow over 3 to 30 steps


class Limits(msgspec.Struct, frozen=True):
    """How large an update may be, and what the loss and the weights may do under large ones."""

    alone: float = 0.8  # healthy runs stay below 0.47, runs with a learning rate 10 times too high start at 0.79
    note: float = 0.5  # just above the largest healthy value, 0.47 (Adagrad's first step)
    with_symptom: float = 0.2  # the weakest of 75 faulty runs reached 0.19
    overshoot: float = 1.6  # measured together with `note` over 96 runs of a learning-rate sweep
    jump: float = 3.0  # the same sweep
    kept: float = 0.8  # of the loss; a small model under SGD takes such steps and learns well
    grown: float = 2.0  # times; of 33 healthy runs of real programs four came above 1.6, and those learned well
    epochs: float = 5  # before that, healthy models may still sit at the constant predictor
    steps: float = 200  # at 100 steps, 6 of 410 healthy runs had not left the constant predictor


class OrdinaryUpdates(Judged, frozen=True):
    """No update of the median weight layer is too large for what the loss does."""

    ratio: float  # of the largest update to the weights
    step: int


class UnseenUpdates(Judged, frozen=True):
    """The loss shows harm, and the updates that led to it were not recorded."""

    loss: TrainingLoss
    harm: Failure | Overshoot


class OversizedUpdate(Judged, frozen=True):
    """An update replaces a good part of the weights of the median layer."""

    loss: TrainingLoss
    severity: Severity
    harm: Harm | None  # to the loss
    ratio: float  # of the largest update to the weights, of the median weight layer
    threshold: float  # the ratio from which on updates count as too large
    step: int  # global step of the largest update
    at_step: Mask  # [recorded steps] that step alone
    early: bool  # it is among the first ten
    only_early: bool  # the updates then settle by themselves, without harm to the loss
    rates: Floats  # [parameter groups] learning rates of that step
    layers: dict[str, float]  # the weight layers with the largest updates at that step, over their weights
    growth: tuple[float, int]  # times, of the median weight layer within ten steps at most, and the first of those
    grows: bool  # so much that it counts
    stable: StableLearningRate | None
    schedule: IncreasingSchedule | None  # that had raised the learning rate by then
    span: Span


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("tensors.update_norm", "tensors.weight_norm"),
    minimum_steps=10,
    explains=(
        "divergence",
        "non_finite",
        "no_learning",
        "gradient_growth",
        "loss_spike",
        "unstable_loss",
        "layer_imbalance",
        "dead_embedding",
        "dead_relu",
        "no_signal",
        "premature_plateau",
        "representation_collapse",
    ),
)
def learning_rate_too_high(
    training: Training, limits: Limits
) -> Iterator[OversizedUpdate | OrdinaryUpdates | UnseenUpdates | NotApplicable | Skipped]:
    """Judge the largest median update-to-weight ratio together with what the loss did."""
    if not weight_layers(training).any():
        yield NotApplicable(reason="the model has no trained weight matrix")
        return
    updates = median_update_ratio(training)
    top = largest(updates)
    if math.isnan(top):
        yield Skipped(
            reason="no finite update of a weight layer was recorded",
            enable="record from the first step on; layers that start at zero cannot be judged",
        )
        return
    loss, judges_loss = training_loss(training), not maximizes(training)
    broken = failure(training, limits.epochs, limits.steps)
    early = overshooting(loss, limits.overshoot, limits.jump) if judges_loss else None
    grows = fastest_growth(training)[0] >= limits.grown
    enough = limits.with_symptom if grows else limits.alone
    poor = little_gain(loss, limits.kept) if judges_loss and top >= enough else None
    severity = _severity(training, top, broken, early, poor, limits)
    if severity is not None:
        threshold = limits.with_symptom if broken or top < limits.note else limits.note
        yield _oversized(training, severity, broken or early or poor, threshold, grows=grows)
    elif (harm := broken or early) and _unseen(training, broken.since if broken else 0):
        yield UnseenUpdates(loss, harm)
    else:
        yield OrdinaryUpdates(top, int(training.recorded_global_steps[int(numpy.nanargmax(updates))]))


def _severity(
    training: Training, top: float, broken: Harm | None, early: Harm | None, poor: Harm | None, limits: Limits
) -> Severity | None:
    """How bad an update of this size is beside what the loss did; None where it is not."""
    if broken and top >= limits.with_symptom:
        return Severity.CRITICAL
    if line_search(training) and top >= limits.note:
        return Severity.NOTE
    if (early and top >= limits.note) or poor:
        return Severity.WARNING
    return Severity.NOTE if top >= limits.note else None


def _unseen(training: Training, since: int) -> bool:
    """Whether most of the steps were not recorded that led to step `since`, or of the first steps."""
    everywhere = training.steps["global_step"].to_numpy()
    before = everywhere[everywhere <= since][-_LEAD_UP:] if since > everywhere[0] else everywhere[:_LEAD_UP]
    return bool(numpy.isin(before, training.recorded_global_steps).mean() < 0.5)


def _oversized(
    training: Training, severity: Severity, harm: Harm | None, threshold: float, *, grows: bool
) -> OversizedUpdate:
    updates, steps = median_update_ratio(training), training.recorded_global_steps
    filled = numpy.where(numpy.isfinite(updates), updates, -numpy.inf)
    peak = int(numpy.argmax(filled))
    over = numpy.flatnonzero(filled >= threshold)
    first, last = (steps[over[0]], steps[over[-1]]) if len(over) else (steps[peak], steps[peak])
    schedule = increasing_schedule(training)
    return OversizedUpdate(
        loss=training_loss(training),
        severity=severity,
        harm=harm,
        ratio=float(updates[peak]),
        threshold=threshold,
        step=int(steps[peak]),
        at_step=numpy.arange(len(steps)) == peak,
        early=peak < _EARLY,
        only_early=harm is None and peak < _EARLY and median(updates[last_half(training)]) < AIM,
        rates=rates_at(training, int(steps[peak])),
        layers=largest_updates(training, peak),
        growth=fastest_growth(training),
        grows=grows,
        stable=stable_learning_rate(training, min(threshold, float(updates[peak]))),
        schedule=schedule if schedule is not None and first >= schedule.risen else None,
        span=Span(first=int(first), last=int(last)),
    )


@learning_rate_too_high.tell
def _ordinary(found: OrdinaryUpdates) -> Clean:
    return Clean(
        measured=f"one step changes the median weight layer by at most {number(found.ratio, 2)} times its size, at "
        f"step {count(found.step)}"
    )


@learning_rate_too_high.tell
def _unseen_updates(found: UnseenUpdates) -> Skipped:
    return Skipped(
        reason=f"{harm_sentence(found.loss, found.harm).rstrip('.')}, and the updates of most of the {_LEAD_UP} steps "
        "before were not recorded",
        enable="record every step: --every 1",
    )


@learning_rate_too_high.tell
def _finding(found: OversizedUpdate, training: Training, limits: Limits) -> Finding:
    at = f"step {count(found.step)}"
    mark = Mark(label=at, x=found.step)
    return Finding(
        severity=found.severity,
        confidence=Confidence.HIGH if found.severity is Severity.CRITICAL or found.harm else Confidence.MEDIUM,
        title=f"Oversized update at {at}" if found.severity is Severity.NOTE else "Learning rate too high",
        # To three digits, because thresholds lie close: 0.386; in words from a million on.
        headline=f"At {at} the update of the median weight layer is "
        f"{number(found.ratio) if found.ratio < 1e6 else factor(found.ratio)} times the size of its weights",
        explanation=_explanation(found, training),
        span=found.span,
        tensors=list(found.layers),
        evidence=[
            update_chart(
                training,
                "The update of the median weight layer over its weights, step by step. Healthy training mostly stays "
                "between 1e-4 and 1e-2; near 1 a step replaces the weights.",
                [mark, Mark(label=setting(found.threshold), y=found.threshold)],
            ),
            loss_chart(training, "The loss over the same steps: see what follows the mark.", [mark]),
        ],
        actions=_actions(found, training),
        measures=[
            *size_measures(found.ratio, found.severity, found.growth[0], with_symptom=limits.with_symptom,
                           note=limits.note, grown=limits.grown),
            *harm_measures(found.loss, found.ratio, overshoot=limits.overshoot, jump=limits.jump, kept=limits.kept,
                           alone=limits.alone),
        ],
    )  # fmt: skip


def _explanation(found: OversizedUpdate, training: Training) -> str:
    sentences = [f"It is made with {optimizer_class(training)} at a learning rate of {rate_in_words(found.rates)}."]
    if found.grows:
        sentences.append(
            f"The median weight layer grows to {factor(found.growth[0])} times its size within ten steps from step "
            f"{count(found.growth[1])}."
        )
    sentences.append(harm_sentence(found.loss, found.harm))
    if size := update_size(training, found.at_step):
        first = " and about 1 at its first steps" if found.early else ""
        sentences.append(f"The update is {size}{first}.")
    if found.layers:
        name, ratio = next(iter(found.layers.items()))
        sentences.append(f"The largest update is that of {name}, {factor(ratio)} times its weights.")
    return " ".join(sentences)


def _actions(found: OversizedUpdate, training: Training) -> list[Action]:
    rise, stable = found.schedule, found.stable
    lower = slower(training, stable, only_early=found.only_early) if stable else []
    if is_adaptive(training):
        beside = Action(
            text="Compare the learning rate with the size of the initial weights: the first update changes every "
            "weight by about the learning rate"
        )
    else:
        beside = clip_norm("Clip the gradient norm before each step")
    return [*([hold(training, rise)] if rise else lower), beside]
