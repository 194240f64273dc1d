"""The gradient vanishes on its way back to the first layers.

## What it looks for

The gradient norms of the weight layers in order of depth, over the first ten steps, for each optimizer and each branch
of the model. It is a warning when the last two layers lie `decades` above the first two, with a rank correlation of at
least `order` between depth and gradient over at least four layers. It is critical when the drop is still there in the
last half of the run and the model has learned nothing.

## Why it matters

A layer that receives a thousandth of its neighbours' gradient learns a thousand times more slowly under SGD. Adam
rescales it and then steps along rounding errors. The first layers keep their random weights: the depth of the model is
paid for and not used.

## What to try

Residual paths and normalisation let the gradient pass. Replace sigmoid and tanh in deep stacks by ReLU or GELU, and
initialise for the activation in use (He for ReLU, Glorot for tanh).

## When it is wrong

The slope depends neither on the scale of the loss nor on clipping. Healthy models, plain ones 26 layers deep included,
stay below 1.4 decades. Layers are ordered as they were registered; a model that registers them in another order than
it uses them may hide a slope, and will hardly fake one. Two networks side by side, such as a policy and a value
function in one module, are no chain: a profile that changes only from one of them to the other is left out.
"""

import math
from collections.abc import Iterator

import msgspec

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.depth import depth_dots
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.depth import NORMALISE, along_the_depth, no_profile, outcome_sentence, per_layer
from gradaudit.evidence.words.wording import count, number, times
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.signals.gradients.depth_slope import FIRST_STEPS, Slope, slopes, vanishes
from gradaudit.signals.loss.nothing_gained import NothingGained, nothing_gained
from gradaudit.training import Training


class Limits(msgspec.Struct, frozen=True):
    """From where on a gradient vanishes."""

    decades: float = 3.0  # healthy models reach 1.4 (2.5 with two nets pooled), faulty ones start at 4.0
    order: float = 0.8  # a slope, not one outlier: layer_imbalance looks at those


class Vanishing(Judged, frozen=True):
    """The gradient of the first layers is far below that of the last."""

    slope: Slope
    persists: bool  # over the last half of the run, too
    learned_nothing: NothingGained | None  # although it persists
    weakest: tuple[str, ...]  # tensors that lie `decades` below the last two layers
    span: Span


class Even(Judged, frozen=True):
    """No drop is both steep and steady; this is the profile of the whole model."""

    slope: Slope


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("tensors.gradient_norm",),
    minimum_steps=10,
    explains=(
        "no_learning",
        "no_signal",
        "layer_imbalance",
        "frozen_parameter",
        "learning_rate_too_low",
        "dead_embedding",
        "epsilon_dominates",
    ),
)
def vanishing_gradient(training: Training, limits: Limits) -> Iterator[Vanishing | Even | NotApplicable | Skipped]:
    """Compare the gradient of the first layers with that of the last."""
    profiles = slopes(training)
    steep = next((s for s in profiles if vanishes(training, s)), None)
    if steep is not None:
        yield _vanishing(training, steep, limits)
    elif profiles:
        yield Even(profiles[0])
    else:
        yield no_profile(training)


def _vanishing(training: Training, slope: Slope, limits: Limits) -> Vanishing:
    persists = slope.late_drop >= limits.decades
    weakest = slope.columns[slope.early < slope.early[-2:].mean() - limits.decades]
    steps = training.recorded_global_steps
    return Vanishing(
        slope=slope,
        persists=persists,
        learned_nothing=nothing_gained(training) if persists else None,
        weakest=tuple(training.tensors[int(column)].name for column in weakest),
        span=Span(first=int(steps[0]), last=int(steps[-1 if persists else min(FIRST_STEPS, len(steps) - 1)])),
    )


@vanishing_gradient.tell
def _even(found: Even) -> Clean:
    return Clean(measured=along_the_depth(found.slope))


@vanishing_gradient.tell
def _finding(found: Vanishing, training: Training, limits: Limits) -> Finding:
    slope = found.slope
    layers, first = count(len(slope.columns)), training.tensors[slope.columns[0]].name
    return Finding(
        severity=Severity.CRITICAL if found.learned_nothing else Severity.WARNING,
        confidence=Confidence.HIGH,
        title="Vanishing gradient",
        headline=f"The gradient becomes {times(10**slope.drop)} times smaller on its way back through {layers} layers",
        explanation=_explanation(found),
        span=found.span,
        tensors=list(found.weakest[:20]),
        evidence=[
            depth_dots(training, slope, set(found.weakest)),
            loss_chart(training, "The training loss of the run.", []),
        ],
        actions=[
            Action(
                text=f"Add residual connections, so that the gradient reaches {first}",
                code="x = x + block(x)",
            ),
            NORMALISE,
            Action(
                text="Use ReLU or GELU instead of sigmoid or tanh, with weights of variance 2 / inputs",
                code="nn.init.kaiming_normal_(layer.weight)",
            ),
        ],
        measures=[
            Measure(quantity="drop from the last to the first layers", value=slope.drop, comparison=">=",
                    threshold=limits.decades, unit="decades", option="decades"),
            Measure(quantity="rank correlation of depth and gradient", value=slope.order, comparison=">=",
                    threshold=limits.order, option="order"),
            Measure(quantity="drop over the last half", value=slope.late_drop, comparison=">=",
                    threshold=limits.decades, unit="decades", option="decades", decides="critical"),
        ],
    )  # fmt: skip


def _explanation(found: Vanishing) -> str:
    slope = found.slope
    branch = f" in {slope.branch}" if slope.branch else ""
    sentences = [
        f"Over the first ten steps the gradient norm is {number(slope.first_two)} in the first two and "
        f"{number(slope.last_two)} in the last two of {count(len(slope.columns))} weight layers{branch}. "
        f"On the way back {per_layer(slope)}."
    ]
    if math.isfinite(slope.late_drop) and slope.late_drop > 0:
        still = "still " if found.persists else ""
        sentences.append(f"In the last half of the run they {still}differ by a factor of {times(10**slope.late_drop)}.")
    elif math.isfinite(slope.late_drop):
        sentences.append("In the last half of the run it no longer shrinks on the way back.")
    if found.learned_nothing:
        sentences.append(outcome_sentence(found.learned_nothing))
    return " ".join(sentences)
