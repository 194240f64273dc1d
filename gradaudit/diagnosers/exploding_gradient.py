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

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.depth import depth_dots
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.depth import along_the_depth, outcome_sentence, per_layer
from gradaudit.evidence.words.wording import count, fold, number, times
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
from gradaudit.reading.run import Run
from gradaudit.signals.activations.inferred_saturation import BOUNDED
from gradaudit.signals.gradients.depth_slope import FIRST_STEPS, Slope, growing_stretch, is_steep, profiled, slopes
from gradaudit.signals.loss.progress import learned_nothing
from gradaudit.training import Training


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
def exploding_gradient(
    training: Training,
    *,
    decades: float = 3.0,  # healthy models reach 1.4 (2.5 with two nets pooled), faulty ones start at 4.0
    steady: float = 1.2,  # from layer to layer, six or more in a row: healthy models have 0.4, faulty ones 1.3
    order: float = 0.8,  # a slope, not one outlier: layer_imbalance looks at those
) -> Iterator[Verdict]:
    """Compare the gradient of the last layers with that of the first."""
    profiles = slopes(training)
    steep = next((s for s in profiles if s.drop < 0 and is_steep(s, decades, order)), None)
    if steep is not None:
        yield _growing(training, steep, decades, order)
    elif (stretch := growing_stretch(training)) is not None and _lasts(stretch, steady):
        yield _growing(training, stretch, steady, order, "steady")
    elif profiles:
        yield Clean(measured=along_the_depth(profiles[0]))
    elif profiled(training).any():
        yield NotApplicable(reason="the model has fewer than four weight layers whose gradients can be compared")
    else:
        yield Skipped(
            reason="no gradient statistics of the first ten steps, with the weights of the start, were recorded",
            enable="record from the first step on",
        )


def _lasts(stretch: Slope, steady: float) -> bool:
    """Whether it is steep enough, and half as steep in the last half of the run: not gone by itself."""
    return -stretch.drop >= steady and -stretch.late_drop >= steady / 2


def _growing(training: Training, slope: Slope, decades: float, order: float, option: str = "decades") -> Finding:
    tensors = training.tensors
    persists = -slope.late_drop >= decades
    nothing = persists and option == "decades" and learned_nothing(training)
    apart = slope.early > slope.early[-2:].mean() + (decades if option == "decades" else decades / 2)
    largest = [tensors[int(c)].name for c in slope.columns[apart]]
    steps = training.recorded_global_steps
    branch = f" in {slope.branch}" if slope.branch else ""
    each = 10 ** (-slope.drop / max(1, len(slope.columns) - 2))
    seen = [
        f"Over the first ten steps the gradient norm is {number(10 ** float(slope.early[-2:].mean()))} in the last two "
        f"and {number(10 ** float(slope.early[:2].mean()))} in the first two of {count(len(slope.columns))} weight "
        f"layers{branch}: on its way back {per_layer(slope)}."
    ]
    if math.isfinite(slope.late_drop):
        seen.append(
            f"In the last half of the run it still grows {fold(slope.late_drop)} times."
            if persists
            else f"In the last half of the run it grows only {fold(slope.late_drop)} times."
            if slope.late_drop < 0
            else "In the last half of the run it no longer grows on its way back."
        )
    if nothing:
        seen.append(outcome_sentence(training))
    last = int(steps[-1]) if persists else int(steps[min(FIRST_STEPS, len(steps) - 1)])
    return Finding(
        severity=Severity.CRITICAL if nothing else Severity.WARNING,
        confidence=Confidence.HIGH if option == "decades" else Confidence.MEDIUM,
        title="Exploding gradient",
        headline=f"The gradient grows {times(10**-slope.drop)} times on its way back through "
        f"{count(len(slope.columns))} layers{branch}",
        explanation=" ".join(seen),
        span=Span(first=int(steps[0]), last=last),
        tensors=largest[:20],
        evidence=[
            depth_dots(training, slope, set(largest)),
            loss_chart(training, "The training loss of the run.", []),
        ],
        actions=[
            Action(
                text=f"Divide the initial weights of these layers by {number(each, 2)}, or initialise them for their "
                f"activation{_for(training.run)}",
                code=_initialisation(training.run),
            ),
            Action(text="Normalise between the layers", code="nn.LayerNorm(width)"),
            Action(
                text="Until then clip the gradient norm",
                code="torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
            ),
        ],
        measures=[
            Measure(quantity="rise from the last to the first layers", value=-slope.drop, comparison=">=",
                    threshold=decades, unit="decades", option=option),
            Measure(quantity="rank correlation of depth and gradient", value=-slope.order, comparison=">=",
                    threshold=order, option="order"),
            Measure(quantity="rise over the last half", value=-slope.late_drop, comparison=">=",
                    threshold=decades / 2 if option == "steady" else decades, unit="decades", option=option,
                    decides="finding" if option == "steady" else "critical"),
        ],
    )  # fmt: skip


def _activations(run: Run) -> set[str]:
    """Which of the bounded activations the model has as modules, in lower case."""
    return {module.module_class.lower() for module in run.meta.modules} & set(BOUNDED)


def _for(run: Run) -> str:
    found = sorted(_activations(run))
    return f", {' and '.join(found)}" if found else ""


def _initialisation(run: Run) -> str:
    """Glorot's for tanh and sigmoid; He's for what else there is."""
    match sorted(_activations(run)):
        case []:
            return "nn.init.kaiming_normal_(layer.weight)  # tanh: nn.init.xavier_normal_"
        case ["sigmoid"]:
            return "nn.init.xavier_normal_(layer.weight)"
        case _:
            return 'nn.init.xavier_normal_(layer.weight, gain=nn.init.calculate_gain("tanh"))'
