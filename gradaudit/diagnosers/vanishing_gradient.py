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

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.depth import depth_dots
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.depth import along_the_depth, fate, per_layer
from gradaudit.evidence.words.wording import count, number, times
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    CouldNotLook,
    Finding,
    Measure,
    NotApplicable,
    Severity,
    Span,
    Verdict,
)
from gradaudit.signals.gradients.depth_slope import FIRST_STEPS, Slope, is_steep, profiled, slopes
from gradaudit.signals.loss.progress import learned_nothing
from gradaudit.training import Training


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
def vanishing_gradient(
    training: Training,
    *,
    decades: float = 3.0,  # healthy models reach 1.4 (2.5 with two nets pooled), faulty ones start at 4.0
    order: float = 0.8,  # a slope, not one outlier: layer_imbalance looks at those
) -> Iterator[Verdict]:
    """Compare the gradient of the first layers with that of the last."""
    profiles = slopes(training)
    steep = next((s for s in profiles if s.drop > 0 and is_steep(s, decades, order)), None)
    if steep is not None:
        yield _vanishing(training, steep, decades, order)
        return
    if profiles:
        yield Clean(measured=along_the_depth(profiles[0]))
    elif profiled(training).any():
        yield NotApplicable(reason="the model has fewer than four weight layers whose gradients can be compared")
    else:
        yield CouldNotLook(
            reason="no gradient statistics of the first ten steps, with the weights of the start, were recorded",
            enable="record from the first step on",
        )


def _vanishing(training: Training, slope: Slope, decades: float, order: float) -> Finding:
    tensors = training.tensors
    first = tensors[int(slope.columns[0])].name
    persists = slope.late_drop >= decades
    nothing = persists and learned_nothing(training)
    weakest = [tensors[int(c)].name for c in slope.columns[slope.early < slope.early[-2:].mean() - decades]]
    steps = training.recorded_global_steps
    branch = f" in {slope.branch}" if slope.branch else ""
    seen = [
        f"Over the first ten steps the gradient norm is {number(10 ** float(slope.early[:2].mean()))} in the first two "
        f"and {number(10 ** float(slope.early[-2:].mean()))} in the last two of {count(len(slope.columns))} weight "
        f"layers{branch}. On the way back {per_layer(slope)}."
    ]
    if math.isfinite(slope.late_drop):
        seen.append(
            f"In the last half of the run they still differ by a factor of {times(10**slope.late_drop)}."
            if persists
            else f"In the last half of the run they differ by a factor of {times(10**slope.late_drop)}."
            if slope.late_drop > 0
            else "In the last half of the run it no longer shrinks on the way back."
        )
    if nothing:
        seen.append(fate(training))
    return Finding(
        severity=Severity.CRITICAL if nothing else Severity.WARNING,
        confidence=Confidence.HIGH,
        title="Vanishing gradient",
        headline=f"The gradient becomes {times(10**slope.drop)} times smaller on its way back through "
        f"{count(len(slope.columns))} layers",
        seen=" ".join(seen),
        span=Span(first=int(steps[0]), last=int(steps[-1 if persists else min(FIRST_STEPS, len(steps) - 1)])),
        tensors=weakest[:20],
        evidence=[
            depth_dots(training, slope, set(weakest)),
            loss_chart(training, "The training loss of the run.", []),
        ],
        actions=[
            Action(text=f"Add residual connections, so that the gradient reaches {first}", code="x = x + block(x)"),
            Action(text="Normalise between the layers", code="nn.LayerNorm(width)"),
            Action(
                text="Use ReLU or GELU instead of sigmoid or tanh, with weights of variance 2 / inputs",
                code="nn.init.kaiming_normal_(layer.weight)",
            ),
        ],
        measures=[
            Measure(quantity="drop from the last to the first layers", value=slope.drop, comparison=">=",
                    threshold=decades, unit="decades", option="decades"),
            Measure(quantity="rank correlation of depth and gradient", value=slope.order, comparison=">=",
                    threshold=order, option="order"),
            Measure(quantity="drop over the last half", value=slope.late_drop, comparison=">=", threshold=decades,
                    unit="decades", option="decades", decides="critical"),
        ],
    )  # fmt: skip
