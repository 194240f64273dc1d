"""A module adds only noise, and training shrinks its weights.

## What it looks for

A weight layer whose input is noise: the cosine of its gradient with that of the step before has a median absolute value
below `cosine` over steps 2 to 60, and its weight ends below `shrunk` of its first norm, while the median of the other
layers does not shrink. Both together are a warning; the gradients of noisy but useful layers point anywhere, too, and
their weights grow. Where the bias of the same module has a cosine of 0.5 or more, 0.98 of the first norm is enough: the
loss reaches the module, and it is the input that is noise.

In front of a single output all gradients of a weight share one direction, and their cosines are not near zero. There it
is a warning when a weight other than the last layer's ends below `down` of its first norm while the median of the
others grows to 1.5 times theirs, with a cosine below 0.55 and below the median of the other layers', next to a bias
with a cosine of 0.9. What weight decay removes is added to the norms before. Where the optimizer's scaling hides it, as
in Adam, weights with decay are left out. So are weights of fewer than 100 elements, whose cosines are never near zero,
and biases of fewer than 8, whose cosines are never far from one.

## Why it matters

What a module computes from random numbers says nothing about the target. The layers around it spend their updates on
suppressing it, the loss stays above what it could reach, and none of this shows in a loss curve or a gradient norm.

## What to try

Run one batch twice in evaluation mode and compare the outputs: they must be equal. Look for randn, rand, a sampling
step or uninitialised memory (torch.empty) in the forward pass of the module.

## When it is wrong

Noise that multiplies is not found: then the whole network becomes noise. A layer that the network does not need, for
example behind a residual path, may shrink in the same way. The gradients must be recorded at successive steps; with
`--every 10` they are not, and the rule does not look. Layers of healthy models whose cosines are as small grow to
1.03 times their first norm or more. The input of a generator's first layer is noise, as it should be: its gradients
have a cosine of 0.65, its weight shrinks to 0.89, and the other layers hardly grow.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.reduce import plain, short
from gradaudit.evidence.words.last_tenth import weights_at_the_end
from gradaudit.evidence.words.wording import count, factor, in_code, names, number, percent, plural, setting
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Dot,
    Dots,
    Finding,
    Lines,
    Mark,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
)
from gradaudit.schema import TensorFacts
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.layers.layers import comparable_layers
from gradaudit.signals.order_statistics import Floats, Integers, Mask, medians, medians_across
from gradaudit.signals.updates.ratios import window
from gradaudit.signals.updates.weight_growth import decay_paths, norms_over_first
from gradaudit.training import Training

_EARLY = (2, 60)  # steps
_LEAST_PAIRS = 10  # of successive recorded steps
_LEAST_ELEMENTS = 100  # the cosine of two random vectors of n elements has a standard deviation of 1 / sqrt(n)
_LEAST_BIAS = 8  # elements: the cosine of two numbers is 1 or -1 whatever they are
# Beside a bias that agrees (behind noise at 0.9 to 1, in deep healthy nets at 0.1 to 0.4) noise shrinks weights to 0.94
# to 0.965, and healthy layers with so small a cosine end above 1.03.
_STEADY, _BARELY = 0.5, 0.98
# In front of a single output the gradients of a bias agree at 1, but for the sign; those of a weight behind noise
# at 0.15 to 0.45, while the other layers grow to 2.5. A generator's first layer agrees at 0.65, beside others at 1.26.
_ONE_DIRECTION, _HALF_STEADY, _GROWN = 0.9, 0.55, 1.5
_MOST_DOTS = 200
_LONGEST_NAME = 30  # characters of a module's name in a headline
_MOST_TAKEN = 50.0  # as a logarithm: beyond that nothing is left to judge


class Limit(NamedTuple):
    """A threshold, and the option that sets it; "" where none does."""

    option: str
    value: float


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("tensors.gradient_cosine", "tensors.weight_norm"),
    minimum_steps=200,
    explains=("layer_imbalance", "no_learning"),
)
def noise_module(
    training: Training,
    *,
    cosine: float = 0.08,  # layers behind additive noise lie at 0.00 to 0.06
    shrunk: float = 0.95,  # of the first norm; healthy layers with so small a cosine end above 1.03
    down: float = 0.93,  # noise before a single output ends at 0.82 to 0.91; healthy weights of this kind grow
) -> Iterator[Verdict]:
    """Look for weights behind an input of noise, which training shrinks."""
    tensors = training.tensors
    paths = decay_paths(training)
    taken = numpy.asarray([paths[t.group] if 0 <= t.group < len(paths) else 0.0 for t in tensors])
    large = numpy.asarray([t.elements >= _LEAST_ELEMENTS for t in tensors], dtype=bool)
    layers = comparable_layers(training)
    judged = layers & large & numpy.isfinite(taken)
    if layers.sum() < 2 or not judged.any():
        yield NotApplicable(
            reason="the model has fewer than two weight layers that can be compared"
            if layers.sum() < 2
            else "every weight is too small for this, or it is not known how much the weight decay takes from it"
        )
        return
    rows = _successive(training)
    cosines = medians(numpy.abs(training.matrix("gradient_cosine")[rows]))
    if rows.sum() < _LEAST_PAIRS or not numpy.isfinite(cosines[judged]).any():
        yield Skipped(
            reason=f"of steps 2 to 60 only {plural(rows.sum(), 'pair')} of successive steps were recorded, and "
            f"this check needs {_LEAST_PAIRS}",
            enable="record every step at the start: --every 1",
        )
        return
    if early := weights_at_the_end(training):
        yield early
        return
    left = norms_over_first(training)[-1]
    held = left * numpy.exp(numpy.minimum(taken, _MOST_TAKEN))
    beside = _of_bias(tensors, cosines)
    others = numpy.asarray([_of_others(held, layers, i) for i in range(len(held))])
    limit = numpy.where(beside >= _STEADY, max(shrunk, _BARELY), shrunk)
    noise = judged & (cosines < cosine) & (held < limit) & (others >= 1.0)
    single = judged & (beside >= _ONE_DIRECTION) & (cosines < _HALF_STEADY) & (held < down) & (others >= _GROWN)
    single &= ~_last(tensors, layers)
    for i in numpy.flatnonzero(single):
        single[i] = cosines[i] < _of_others(cosines, layers, int(i))
    if noise.any():
        limits = [
            Limit("cosine", cosine),
            Limit("shrunk", float(limit[noise & (left == left[noise].min())][0])),
        ]
        yield _finding(training, numpy.flatnonzero(noise), cosines, left, held, limits)
    elif single.any():
        limits = [Limit("", _HALF_STEADY), Limit("down", down)]
        yield _finding(training, numpy.flatnonzero(single), cosines, left, held, limits)
    elif (broken := non_finite_onset(training)) is not None and not broken.recovered:
        yield Skipped(
            reason=f"from step {count(broken.step)} on there are NaN or infinities, so how far the weights come is "
            "not known",
            enable="fix what non_finite reports",
        )
    else:
        least = int(numpy.argmin(numpy.where(judged & numpy.isfinite(cosines), cosines, numpy.inf)))
        yield Clean(
            measured=f"from step to step the gradients agree least in {tensors[least].name} (cosine "
            f"{number(float(cosines[least]), 2)}); its weights end at {factor(float(left[least]))} times their "
            f"first norm"
        )


def _successive(training: Training) -> Mask:
    """[recorded steps]: those of the early window whose step before was recorded, too."""
    recorded = training.recorded
    gaps = numpy.diff(recorded, prepend=recorded[:1] - 2)
    return numpy.asarray(window(training, *_EARLY) & (gaps == 1))


def _of_others(values: Floats, layers: Mask, i: int) -> float:
    """The median of the layers beside tensor `i`."""
    return _median(values[layers & (numpy.arange(len(values)) != i)])


def _last(tensors: Sequence[TensorFacts], layers: Mask) -> Mask:
    """[tensors]: the layer that makes the output, which is not in front of it."""
    depths = numpy.asarray([t.depth for t in tensors])
    return numpy.asarray(layers & (depths == depths[layers].max()))


def _of_bias(tensors: Sequence[TensorFacts], cosines: Floats) -> Floats:
    """[tensors]: for each weight the value of the bias of its module; 0 where there is none, or a small one."""
    biases = {t.module: float(cosines[i]) for i, t in enumerate(tensors) if _large_bias(t)}
    values = [biases.get(t.module, 0.0) if t.role == "weight" else 0.0 for t in tensors]
    return numpy.asarray(numpy.nan_to_num(values), dtype=float)


def _large_bias(tensor: TensorFacts) -> bool:
    return tensor.role == "bias" and tensor.elements >= _LEAST_BIAS


def _median(values: Floats) -> float:
    return float(medians(values.reshape(-1, 1))[0])


def _finding(
    training: Training,
    found: Integers,
    cosines: Floats,
    left: Floats,
    held: Floats,
    limits: list[Limit],
) -> Finding:
    tensors, steps = training.tensors, training.recorded_global_steps
    layers = numpy.flatnonzero(comparable_layers(training))
    noisy = sorted((int(i) for i in found), key=lambda i: float(left[i]))
    cosine, shrunk = limits
    worst = noisy[0]
    others = layers[~numpy.isin(layers, noisy)]
    module = tensors[worst].module or tensors[worst].name
    seen = [
        f"Over steps {_EARLY[0]} to {_EARLY[1]} the gradient of {tensors[worst].name} has a cosine of "
        f"{number(float(cosines[worst]), 2)} with that of the step before (median of the absolute values); the other "
        f"layers have {number(_median(cosines[others]), 2)}. The norm of the weight ends at "
        f"{percent(float(left[worst]))} of its first value, that of the others at {percent(_median(left[others]))}."
    ]
    bias = [i for i, t in enumerate(tensors) if t.module == tensors[worst].module and _large_bias(t)]
    if bias and numpy.isfinite(cosines[bias[0]]) and cosines[bias[0]] > min(0.9, 3 * cosine.value):
        seen.append(
            f"The gradients of its bias agree (cosine {number(float(cosines[bias[0]]), 2)}): the loss reaches "
            "the module, so it is the input that is noise."
        )
    else:
        seen.append("That is how a layer behaves whose input is noise.")
    if len(noisy) > 1:
        seen.append(f"{count(len(noisy))} layers are like this: {names([tensors[i].name for i in noisy], 4)}.")
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.MEDIUM,
        title="Module adds only noise",
        headline=f"Successive gradients of {module if len(module) <= _LONGEST_NAME else 'a module'} have a cosine of "
        f"{number(float(cosines[worst]), 2)}, and its weight shrinks to {percent(float(left[worst]))}",
        explanation=" ".join(seen),
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        tensors=[tensors[i].name for i in noisy[:20]],
        evidence=[_dots(training, layers, noisy, cosines, cosine.value), _lines(training, noisy, others)],
        actions=[
            Action(text="Compare two passes of one batch in evaluation mode: they must differ by 0",
                   code="model.eval()\nprint((model(x) - model(x)).abs().max())"),
            Action(text=f"Look in and in front of {in_code(module)} for random numbers (randn, rand, a sampling step) "
                   "and uninitialised memory (torch.empty), and feed it the activations instead"),
            Action(text="If the noise is meant to regularise, scale it to a tenth of the standard deviation of the "
                   "activations, in training mode only", code="x + 0.1 * x.std() * torch.randn_like(x)"),
        ],
        measures=[
            Measure(quantity="cosine of successive gradients, median absolute value", value=float(cosines[worst]),
                    comparison="<", threshold=cosine.value, option=cosine.option),
            Measure(quantity="last norm / first, without decay", value=float(held[worst]), comparison="<",
                    threshold=shrunk.value, option=shrunk.option),
            Measure(quantity="last norm / first, median of the other layers",
                    value=_of_others(held, comparable_layers(training), worst), comparison=">=",
                    threshold=1 if shrunk.option == "shrunk" else _GROWN),
        ],
    )  # fmt: skip


def _dots(training: Training, layers: Integers, noisy: list[int], cosines: Floats, cosine: float) -> Dots:
    tensors = training.tensors
    every = -(-len(layers) // _MOST_DOTS)
    shown = sorted({*layers[::every].tolist(), *noisy})
    return Dots(
        title="Cosine of successive gradients by layer, steps 2 to 60",
        caption="The median absolute cosine, from the input at the top to the output at the bottom. Layers that "
        "learn get much the same gradient at successive steps.",
        x_label="|cosine|",
        dots=[
            Dot(label=tensors[i].name, value=short(float(cosines[i])) if cosines[i] > 0 else None,
                group=tensors[i].role, flagged=i in noisy)
            for i in shown
        ],
        marks=[Mark(label=f"threshold {setting(cosine)}", x=cosine)],
    )  # fmt: skip


def _lines(training: Training, noisy: list[int], others: Integers) -> Lines:
    left, tensors = norms_over_first(training), training.tensors
    steps = training.recorded_global_steps
    return Lines(
        title="Norm of the weights",
        caption="The norm of each weight over its first. Useful weights grow, and those that only add noise shrink.",
        x_label="step",
        y_label="|w| / |first w|",
        series=[
            *(plain(tensors[i].name, steps, left[:, i], role="flagged") for i in noisy[:4]),
            plain("median of the other layers", steps, medians_across(left[:, others])),
        ],
        marks=[Mark(label="start", y=1.0, role="reference")],
    )
