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

import msgspec
import numpy

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.input_size import size_chart
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.module_names import layer as layer_in_words
from gradaudit.evidence.words.module_names import named
from gradaudit.evidence.words.optimizers import label_of
from gradaudit.evidence.words.wording import count, number, plural, times
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.signals.activations.input_scale import FIRST_STEPS, InputScale, input_scale
from gradaudit.signals.activations.module_samples import InputSample, first_input
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.training import Training

_SURE = 20  # recorded steps that tell the size, in a run that breaks


class Limits(msgspec.Struct, frozen=True):
    """How large inputs may be whose first layer is made for a size of 1."""

    scale: float = 10.0  # 410 healthy runs had 0.13 to 3.0, raw tables and pixels 52 to 2,500
    largest: float = 50.0  # torch-audit's; no healthy run reached it


class LargeSample(Judged, frozen=True):
    """The sampled input holds a value far above what the initial weights are made for."""

    sample: InputSample


class NormalisedSample(Judged, frozen=True):
    """It does, and a normalisation comes before any other layer."""

    sample: InputSample
    module: str  # name or class of the normalisation


class SmallSample(Judged, frozen=True):
    """The sampled input is not that large."""

    training: Training
    sample: InputSample


class LargeEstimate(Judged, frozen=True):
    """The gradient of the first layer tells that its inputs are far larger than its weights are made for."""

    training: Training
    scale: InputScale
    inputs: float  # of the layer
    sure: bool  # enough steps tell it
    sample: InputSample | None
    span: Span


class SmallEstimate(Judged, frozen=True):
    """The gradient of the first layer tells that they are not."""

    training: Training
    scale: InputScale


OfTraining = LargeEstimate | SmallEstimate | SmallSample | Skipped


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
def unscaled_input(run: Run, limits: Limits) -> Iterator[LargeSample | NormalisedSample | OfTraining]:
    """Estimate the size of the inputs from the first gradients, or look at the sampled inputs."""
    sample = first_input(run)
    if sample is not None and sample.largest > limits.largest:
        module = _normalised(run)
        yield NormalisedSample(sample, module) if module else LargeSample(sample)
        return
    found = [_judged(training, sample, limits.scale) for training in run.trainings]
    # Where one training can be judged, the others' reasons why not are left out.
    yield from [one for one in found if not isinstance(one, Skipped)] or found


def _normalised(run: Run) -> str:
    """The normalisation that comes before any other module with parameters; "" where there is none."""
    owners = {tensor.module for tensor in run.meta.tensors}
    for module in run.meta.modules:
        if "Norm" in module.module_class:
            return module.name or module.module_class
        if module.name in owners:
            break
    return ""


def _judged(training: Training, sample: InputSample | None, scale: float) -> OfTraining:
    found = input_scale(training)
    # A sample of the inputs is the better witness where there is one.
    small = sample is not None and sample.largest <= scale
    if found is not None and found.typical > scale and not small:
        return _large(training, found, sample)
    if found is not None and math.isfinite(found.typical) and not small:
        return SmallEstimate(training, found)
    if sample is not None:
        return SmallSample(training, sample)
    return Skipped(
        reason="the first layer's gradient does not tell the size of its inputs: the layer is not trained, has "
        "no bias or one output, or a normalisation follows it",
        enable="gradaudit record --activations samples the inputs themselves",
    )


def _large(training: Training, found: InputScale, sample: InputSample | None) -> LargeEstimate:
    layer, steps = found.layer, found.steps
    return LargeEstimate(
        training=training,
        scale=found,
        inputs=layer.elements / layer.shape[max(layer.output_axis, 0)],
        sure=non_finite_onset(training) is None or int(numpy.isfinite(found.values).sum()) >= _SURE,
        sample=sample,
        span=Span(first=int(steps[0]), last=int(steps[min(len(steps) - 1, FIRST_STEPS)])),
    )


@unscaled_input.tell
def _normalised_sample(found: NormalisedSample) -> Clean:
    return Clean(
        measured=f"the largest value of the first sampled input is {number(found.sample.largest)}, and {found.module} "
        "normalises it"
    )


@unscaled_input.tell
def _small_sample(found: SmallSample) -> Clean:
    largest = number(found.sample.largest)
    return Clean(measured=f"the largest value of the first sampled input is {largest}{label_of(found.training)}")


@unscaled_input.tell
def _small_estimate(found: SmallEstimate, run: Run) -> Clean:
    layer = found.scale.layer
    return Clean(
        measured=f"the inputs of the first layer, {named(run, layer.module) or layer.name}, have a size of about "
        f"{number(found.scale.typical, 2)} (root mean square){label_of(found.training)}"
    )


@unscaled_input.tell
def _estimated(found: LargeEstimate, run: Run, limits: Limits) -> Finding:
    layer, size = found.scale.layer, found.scale.typical
    name = named(run, layer.module) or layer.name
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH if found.sure else Confidence.MEDIUM,
        title="Inputs not standardised",
        headline=f"The inputs of {layer_in_words(run, layer.module) or layer.name} have an RMS of {number(size, 2)}; "
        f"its initial weights are made for 1{label_of(found.training)}",
        explanation=f"The first layer, {name}, has {plural(found.inputs, 'input')}. The gradient of its weights over "
        f"that of its bias gives the size of the inputs: about {number(size, 2)} (root mean square). Its weights were "
        f"initialised for inputs of size 1.{_unevenness(found.sample)}",
        span=found.span,
        tensors=[layer.name],
        evidence=[
            size_chart(found.scale, name, limits.scale),
            loss_chart(found.training, "The training loss of the run.", []),
        ],
        actions=_actions(size),
        measures=[
            Measure(quantity="estimated size of the inputs, first step and median of the first 20",
                    value=size, comparison=">", threshold=limits.scale, option="scale"),
        ],
    )  # fmt: skip


@unscaled_input.tell
def _sampled(found: LargeSample, limits: Limits) -> Finding:
    sample = found.sample
    cells = {
        "smallest": sample.minimum,
        "largest": sample.maximum,
        "mean": sample.mean,
        "standard deviation": sample.std,
        "spread of features, largest / smallest": sample.feature_std_ratio,
    }
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        title="Inputs not standardised",
        headline=f"The inputs of the model reach {number(sample.largest)} at step {count(sample.step)}; its initial "
        "weights are made for a size of 1",
        explanation=f"The first sampled input has a mean of {number(sample.mean)} and a standard deviation of "
        f"{number(sample.std)}.{_unevenness(sample)}",
        span=Span(first=sample.step, last=sample.step),
        evidence=[
            Numbers(
                title="The first sampled input",
                caption="Over all elements of the input of the model; standardised inputs have mean 0 and standard "
                "deviation 1.",
                columns=["", "value"],
                cells=[[label, number(value)] for label, value in cells.items() if math.isfinite(value)],
            )
        ],
        actions=_actions(sample.largest),
        measures=[
            Measure(quantity="largest absolute input", value=sample.largest, comparison=">", threshold=limits.largest,
                    option="largest"),
        ],
    )  # fmt: skip


def _unevenness(sample: InputSample | None) -> str:
    if sample is None or not sample.uneven:
        return ""
    return f" The standard deviations of the features differ by a factor of {times(sample.feature_std_ratio)}."


def _actions(size: float) -> list[Action]:
    return [
        Action(
            text=f"Standardise the inputs, whose size is {number(size, 2)}: subtract each feature's mean and divide by "
            "its standard deviation, both of the training data",
            code="x = (x - train_x.mean(0)) / train_x.std(0)",
        ),
        Action(text="Divide pixels of 0 to 255 by 255; take the logarithm of amounts that span powers of ten"),
        Action(
            text="Or put a normalisation in front of the first layer",
            code="model = nn.Sequential(nn.BatchNorm1d(features, affine=False), model)",
        ),
    ]
