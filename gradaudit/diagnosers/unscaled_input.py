"""The inputs are not standardised: they are far larger than the initial weights are made for.

## What it looks for

The gradient of a layer's weights is that of its bias times the inputs, so the ratio of their norms, divided by the root
of the number of inputs, estimates how large the inputs are. It is a warning when the median over the first 20 steps is
above `scale` for the first layer of the model, and the first step's value is, too. Where the model's inputs were
sampled, it is one too when the first sample holds a value beyond `largest`, unless a normalisation comes first.

## Why it matters

torch.nn initialises layers for inputs of size 1. Inputs of size 100 make outputs, the first loss and the first
gradients a hundred times larger; a learning rate that is small enough for them is too small for all layers after them.
Where features differ in size, the largest dominates and the others hardly count.

## What to try

Subtract the mean of each feature and divide by its standard deviation, both taken from the training data. Divide pixels
by 255. Take the logarithm of amounts that span decades. Or put a normalisation in front of the first layer.

## When it is wrong

Healthy runs had 0.13 to 3, raw tables and pixels 52 to 2,500. A first layer that is frozen, has no bias, or is followed
by a normalisation or an attention does not tell the size of the inputs. The sampled inputs do.
"""

import math
from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.each_training import each_training
from gradaudit.evidence.words.module_names import layer as layer_in_words
from gradaudit.evidence.words.module_names import named
from gradaudit.evidence.words.wording import count, number, plural, setting, times
from gradaudit.findings import (
    Action,
    AnyEvidence,
    Clean,
    Confidence,
    Finding,
    Lines,
    Mark,
    Measure,
    Numbers,
    Severity,
    Skipped,
    Span,
    Verdict,
)
from gradaudit.reading.run import Run
from gradaudit.signals.activations.input_scale import ROUNDING, InputScale, input_scale
from gradaudit.signals.activations.module_samples import model_inputs
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.training import Training

_UNEVEN = 100.0  # times between the spread of features that is worth a sentence


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps",),
    minimum_steps=20,
    explains=(
        "initial_loss_mismatch",
        "dead_relu",
        "saturated_activation",
        "learning_rate_too_high",
        "divergence",
        "non_finite",
        "no_learning",
        "no_signal",
        "layer_imbalance",
        "gradient_growth",
        "constant_clipping",
        "loss_spike",
    ),
)
def unscaled_input(
    run: Run,
    *,
    scale: float = 10.0,  # 410 healthy runs had 0.13 to 3.0, raw tables and pixels 52 to 2,500
    largest: float = 50.0,  # torch-audit's; no healthy run reached it
) -> Iterator[Verdict]:
    """Estimate the size of the inputs from the first gradients, or look at the sampled inputs."""
    inputs = model_inputs(run)
    if len(inputs):
        row = inputs.iloc[0]
        top = max(abs(float(row["minimum"])), abs(float(row["maximum"])))
        if top > largest and (norm := _normalised(run)):
            yield Clean(
                measured=f"the largest value of the first sampled input is {number(top)}, and {norm} normalises it"
            )
            return
        if top > largest:
            yield _sampled(run, top, float(row["feature_std_ratio"]), largest)
            return

    def judge(training: Training) -> Iterator[Verdict]:
        found = input_scale(training)
        # A sample of the inputs is the better witness where there is one.
        small = len(inputs) > 0 and top <= scale
        if found is not None and found.typical > scale and not small:
            yield _estimated(training, found, scale)
        elif found is not None and math.isfinite(found.typical) and not small:
            yield Clean(
                measured=f"the inputs of the first layer, {named(run, found.layer.module) or found.layer.name}, have a "
                f"size of about {number(found.typical, 2)} (root mean square)"
            )
        elif len(inputs):
            yield Clean(measured=f"the largest value of the first sampled input is {number(top)}")
        else:
            yield Skipped(
                reason="the first layer's gradient does not tell the size of its inputs: the layer is not trained, has "
                "no bias or one output, or a normalisation follows it",
                enable="gradaudit record --activations samples the inputs themselves",
            )

    yield from each_training(run, judge)


def _normalised(run: Run) -> str:
    """The normalisation that comes before any other module with parameters; "" where there is none."""
    owners = {tensor.module for tensor in run.meta.tensors}
    for module in run.meta.modules:
        if "Norm" in module.module_class:
            return module.name or module.module_class
        if module.name in owners:
            break
    return ""


def _actions(size: float) -> list[Action]:
    return [
        Action(
            text=f"Standardise the inputs, whose size is {number(size, 2)}: subtract each feature's mean and divide by "
            "its standard deviation, both of the training data",
            code="x = (x - train_x.mean(0)) / train_x.std(0)",
        ),
        Action(text="Divide pixels of 0 to 255 by 255; take the logarithm of amounts that span powers of ten"),
        Action(text="Or put a normalisation in front of the first layer",
               code="model = nn.Sequential(nn.BatchNorm1d(features, affine=False), model)"),
    ]  # fmt: skip


def _estimated(training: Training, found: InputScale, scale: float) -> Finding:
    layer = found.layer
    name = named(training.run, layer.module) or layer.name
    rows = layer.shape[max(layer.output_axis, 0)]
    shown = slice(0, 200)
    seen = [
        f"The first layer, {name}, has {plural(layer.elements / rows, 'input')}. The gradient of its weights over that "
        f"of its bias gives the size of the inputs: about {number(found.typical, 2)} (root mean square). Its weights "
        "were initialised for inputs of size 1.",
        *_unevenness(training.run),
    ]
    last = int(found.steps[min(len(found.steps) - 1, 19)])
    evidence: list[AnyEvidence] = [
        Lines(
            title="Size of the inputs",
            caption="The gradient norm of the first layer's weights over that of its bias and the root of its number "
            "of inputs: an estimate of the root mean square of the inputs. Standardised ones have 1."
            + _not_drawn(found, shown),
            x_label="step",
            y_label="estimated size",
            series=[plain(name, found.steps[shown], found.estimates[shown], role="flagged")],
            marks=[Mark(label=setting(scale), y=scale), Mark(label="standardised", y=1.0, role="reference")],
            log=True,
        ),
        loss_chart(training, "The training loss of the run.", []),
    ]
    sure = non_finite_onset(training) is None or int(numpy.isfinite(found.values).sum()) >= 20
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH if sure else Confidence.MEDIUM,
        title="Inputs not standardised",
        headline=f"The inputs of {layer_in_words(training.run, layer.module) or layer.name} have an RMS of "
        f"{number(found.typical, 2)}; its initial weights are made for 1",
        explanation=" ".join(seen),
        span=Span(first=int(found.steps[0]), last=max(last, int(found.steps[0]))),
        tensors=[layer.name],
        evidence=evidence,
        actions=_actions(found.typical),
        measures=[
            Measure(quantity="estimated size of the inputs, first step and median of the first 20",
                    value=found.typical, comparison=">", threshold=scale, option="scale"),
        ],
    )  # fmt: skip


def _not_drawn(found: InputScale, shown: slice) -> str:
    """Which of the steps have no point in the chart or do not count, and why."""
    steps = len(found.values[shown])
    above = int(found.above[shown].sum())
    none = int(numpy.isnan(found.values[shown]).sum()) - above
    words = []
    if len(found.values) > steps:
        words.append(f" Of the {count(len(found.values))} recorded steps the first {count(steps)} are shown.")
    if above:
        words.append(
            f" At {count(above)} of the {plural(steps, 'step')} the estimate is above {count(ROUNDING)}: there "
            "the gradient of the bias is so small that rounding may decide, and they do not count."
        )
    if none:
        words.append(f" At {count(none)} of them the bias has next to no gradient, and nothing can be estimated.")
    return "".join(words)


def _unevenness(run: Run) -> list[str]:
    inputs = model_inputs(run)
    ratio = float(inputs["feature_std_ratio"].iloc[0]) if len(inputs) else math.nan
    return (
        [f"The standard deviations of the features differ by a factor of {times(ratio)}."] if ratio >= _UNEVEN else []
    )


def _sampled(run: Run, top: float, ratio: float, largest: float) -> Finding:
    inputs = model_inputs(run)
    step = int(inputs["step"].iloc[0])
    row = inputs.iloc[0]
    columns = ["minimum", "maximum", "mean", "std", "feature_std_ratio"]
    labels = ["smallest", "largest", "mean", "standard deviation", "spread of features, largest / smallest"]
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        title="Inputs not standardised",
        headline=f"The inputs of the model reach {number(top)} at step {count(step)}; "
        "its initial weights are made for a size of 1",
        explanation=" ".join(
            [
                f"The first sampled input has a mean of {number(float(row['mean']))} and a standard deviation of "
                f"{number(float(row['std']))}.",
                *_unevenness(run),
            ]
        ),
        span=Span(first=step, last=step),
        evidence=[
            Numbers(
                title="The first sampled input",
                caption="Over all elements of the input of the model; standardised inputs have mean 0 and standard "
                "deviation 1.",
                columns=["", "value"],
                cells=[
                    [label, number(float(row[column]))]
                    for label, column in zip(labels, columns, strict=True)
                    if math.isfinite(float(row[column]))
                ],
            )
        ],
        actions=_actions(top),
        measures=[
            Measure(quantity="largest absolute input", value=top, comparison=">", threshold=largest,
                    option="largest"),
        ],
    )  # fmt: skip
