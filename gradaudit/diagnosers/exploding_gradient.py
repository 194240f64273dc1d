"""The gradient explodes: it grows by orders of magnitude on its way back to the first layers.

## What it looks for

The gradient norms of the weight layers in the order of depth, over the first ten steps, for each optimizer and each
branch of the model. The first two layers `decades` above the last two, with a rank correlation of at least `order`
between depth and gradient over at least four layers, is a warning; it is critical when the slope is still there in the
last half of the run and the model has learned nothing. Six layers or more in a row, each with 1.26 times or more the
gradient of the next, are a warning from `steady` decades on, when half of those are still there in the last half.

## Why it matters

The first layers need a learning rate a thousand times smaller than the last ones. At a larger one they diverge within a
few steps, and the loss with them.

## What to try

Initialise for the activation in use: weights of variance 2 / inputs for ReLU, 1 / inputs for tanh. Add normalisation,
or residual paths whose branches start near zero. Clipping the norm bounds the damage of one step, not the slope.

## When it is wrong

The slope depends neither on the scale of the loss nor on clipping. Healthy models stay below 1.4 decades. Layers are
ordered as they were registered. A gradient that grows with the steps and not with the depth is reported by
`gradient_growth`.
"""

import math
from collections.abc import Iterator
from typing import Literal

import msgspec

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.depth import depth_dots
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.clipping import clip_norm
from gradaudit.evidence.words.depth import NORMALISE, along_the_depth, no_profile, outcome_sentence, per_layer
from gradaudit.evidence.words.wording import count, fold, number, times
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.signals.activations.inferred_saturation import BOUNDED
from gradaudit.signals.gradients.depth_slope import FIRST_STEPS, Slope, explodes, growing_stretch, slopes
from gradaudit.signals.loss.nothing_gained import NothingGained, nothing_gained
from gradaudit.training import Training


class Limits(msgspec.Struct, frozen=True):
    """From where on a gradient explodes."""

    decades: float = 3.0  # healthy models reach 1.4 (2.5 with two nets pooled), faulty ones start at 4.0
    steady: float = 1.2  # from layer to layer, six or more in a row: healthy models have 0.4, faulty ones 1.3
    order: float = 0.8  # a slope, not one outlier: layer_imbalance looks at those


class Exploding(Judged, frozen=True):
    """The gradient of the first layers is far above that of the last."""

    slope: Slope
    option: Literal["decades", "steady"]  # the limit it passes: over all layers, or over some in a row
    threshold: float  # decades, that limit
    late_threshold: float  # decades, what the rise over the last half is held against
    per_layer: float  # times, by which the gradient grows from a layer to the one before it
    persists: bool  # as steep over the last half of the run
    learned_nothing: NothingGained | None  # although it persists
    largest: tuple[str, ...]  # tensors that lie far above the last two layers
    activations: tuple[str, ...]  # the bounded ones that the model has as modules, in lower case
    span: Span


class Even(Judged, frozen=True):
    """No rise is both steep and steady; this is the profile of the whole model."""

    slope: Slope


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("tensors.gradient_norm",),
    minimum_steps=10,
    explains=(
        "learning_rate_too_high",
        "divergence",
        "non_finite",
        "constant_clipping",
        "layer_imbalance",
        "no_learning",
        "no_signal",
    ),
)
def exploding_gradient(training: Training, limits: Limits) -> Iterator[Exploding | Even | NotApplicable | Skipped]:
    """Compare the gradient of the last layers with that of the first."""
    profiles = slopes(training)
    steep = next((s for s in profiles if explodes(training, s)), None)
    stretch = growing_stretch(training)
    if steep is not None:
        yield _exploding(training, steep, limits, "decades")
    elif stretch is not None and _lasts(stretch, limits.steady):
        yield _exploding(training, stretch, limits, "steady")
    elif profiles:
        yield Even(profiles[0])
    else:
        yield no_profile(training)


def _lasts(stretch: Slope, steady: float) -> bool:
    """Whether it is steep enough, and half as steep in the last half of the run: not gone by itself."""
    return -stretch.drop >= steady and -stretch.late_drop >= steady / 2


def _exploding(training: Training, slope: Slope, limits: Limits, option: Literal["decades", "steady"]) -> Exploding:
    steady = option == "steady"
    threshold = limits.steady if steady else limits.decades
    persists = -slope.late_drop >= threshold
    apart = slope.early > slope.early[-2:].mean() + (threshold / 2 if steady else threshold)
    steps = training.recorded_global_steps
    return Exploding(
        slope=slope,
        option=option,
        threshold=threshold,
        late_threshold=threshold / 2 if steady else threshold,
        per_layer=10 ** (-slope.drop / max(1, len(slope.columns) - 2)),
        persists=persists,
        learned_nothing=nothing_gained(training) if persists and not steady else None,
        largest=tuple(training.tensors[int(column)].name for column in slope.columns[apart]),
        activations=_bounded_activations(training.run),
        span=Span(first=int(steps[0]), last=int(steps[-1 if persists else min(FIRST_STEPS, len(steps) - 1)])),
    )


def _bounded_activations(run: Run) -> tuple[str, ...]:
    return tuple(sorted({module.module_class.lower() for module in run.meta.modules} & set(BOUNDED)))


@exploding_gradient.tell
def _even(found: Even) -> Clean:
    return Clean(measured=along_the_depth(found.slope))


@exploding_gradient.tell
def _finding(found: Exploding, training: Training, limits: Limits) -> Finding:
    slope = found.slope
    return Finding(
        severity=Severity.CRITICAL if found.learned_nothing else Severity.WARNING,
        confidence=Confidence.HIGH if found.option == "decades" else Confidence.MEDIUM,
        title="Exploding gradient",
        headline=f"The gradient grows {times(10**-slope.drop)} times on its way back through "
        f"{count(len(slope.columns))} layers{_branch(slope)}",
        explanation=_explanation(found),
        span=found.span,
        tensors=list(found.largest[:20]),
        evidence=[
            depth_dots(training, slope, set(found.largest)),
            loss_chart(training, "The training loss of the run.", []),
        ],
        actions=_actions(found),
        measures=[
            Measure(quantity="rise from the last to the first layers", value=-slope.drop, comparison=">=",
                    threshold=found.threshold, unit="decades", option=found.option),
            Measure(quantity="rank correlation of depth and gradient", value=-slope.order, comparison=">=",
                    threshold=limits.order, option="order"),
            Measure(quantity="rise over the last half", value=-slope.late_drop, comparison=">=",
                    threshold=found.late_threshold, unit="decades", option=found.option,
                    decides="finding" if found.option == "steady" else "critical"),
        ],
    )  # fmt: skip


def _branch(slope: Slope) -> str:
    return f" in {slope.branch}" if slope.branch else ""


def _explanation(found: Exploding) -> str:
    slope = found.slope
    sentences = [
        f"Over the first ten steps the gradient norm is {number(slope.last_two)} in the last two and "
        f"{number(slope.first_two)} in the first two of {count(len(slope.columns))} weight layers{_branch(slope)}: on "
        f"its way back {per_layer(slope)}."
    ]
    if math.isfinite(slope.late_drop) and found.persists:
        sentences.append(f"In the last half of the run it still grows {fold(slope.late_drop)} times.")
    elif math.isfinite(slope.late_drop) and slope.late_drop < 0:
        sentences.append(f"In the last half of the run it grows only {fold(slope.late_drop)} times.")
    elif math.isfinite(slope.late_drop):
        sentences.append("In the last half of the run it no longer grows on its way back.")
    if found.learned_nothing:
        sentences.append(outcome_sentence(found.learned_nothing))
    return " ".join(sentences)


def _actions(found: Exploding) -> list[Action]:
    activations = f", {' and '.join(found.activations)}" if found.activations else ""
    return [
        Action(
            text=f"Divide the initial weights of these layers by {number(found.per_layer, 2)}, or initialise them for "
            f"their activation{activations}",
            code=_initialisation(found.activations),
        ),
        NORMALISE,
        clip_norm("Until then clip the gradient norm"),
    ]


def _initialisation(activations: tuple[str, ...]) -> str:
    """Glorot's for tanh and sigmoid; He's for what else there is."""
    match activations:
        case ():
            return "nn.init.kaiming_normal_(layer.weight)  # tanh: nn.init.xavier_normal_"
        case ("sigmoid",):
            return "nn.init.xavier_normal_(layer.weight)"
        case _:
            return 'nn.init.xavier_normal_(layer.weight, gain=nn.init.calculate_gain("tanh"))'
