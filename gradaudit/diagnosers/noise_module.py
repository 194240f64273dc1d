"""A module adds only noise, and training shrinks its weights.

## What it looks for

A weight layer whose input is noise: the cosine of its gradient with that of the step before has a median absolute value
below `cosine` over steps 2 to 60, and its weight ends below `shrunk` of its first norm, while the median of the other
layers does not shrink. Both together are a warning; the gradients of noisy but useful layers point anywhere, too, and
their weights grow. Where the bias of the same module has a cosine of 0.5 or more, 0.98 of the first norm is enough: the
loss reaches the module, and it is the input that is noise. It is a note where a term of the objective reaches modules
in front of it and not the module itself: a variational autoencoder samples the input of its decoder.

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

import msgspec
import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.layer_dots import cosine_dots
from gradaudit.evidence.charts.weight_norms import noisy_layers
from gradaudit.evidence.words.last_tenth import weights_at_the_end
from gradaudit.evidence.words.wording import count, factor, in_code, names, number, percent, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.schema import TensorFacts
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.gradients.successive import EARLY, SuccessiveGradients, bias_cosine, successive_gradients
from gradaudit.signals.order_statistics import Floats, Integers, Mask, median, medians_of_others
from gradaudit.training import Training

_LEAST_PAIRS = 10  # of successive recorded steps
# Beside a bias that agrees (behind noise at 0.9 to 1, in deep healthy nets at 0.1 to 0.4) noise shrinks weights to 0.94
# to 0.965, and healthy layers with so small a cosine end above 1.03.
_STEADY, _BARELY = 0.5, 0.98
# In front of a single output the gradients of a bias agree at 1, but for the sign; those of a weight behind noise
# at 0.15 to 0.45, while the other layers grow to 2.5. A generator's first layer agrees at 0.65, beside others at 1.26.
_ONE_DIRECTION, _HALF_STEADY, _GROWN = 0.9, 0.55, 1.5
_LONGEST_NAME = 30  # characters of a module's name in a headline


class Limits(msgspec.Struct, frozen=True):
    """From where on successive gradients are unrelated, and weights shrink."""

    cosine: float = 0.08  # layers behind additive noise lie at 0.00 to 0.06
    shrunk: float = 0.95  # of the first norm; healthy layers with so small a cosine end above 1.03
    down: float = 0.93  # noise before a single output ends at 0.82 to 0.91; healthy weights of this kind grow


class FewPairs(Judged, frozen=True):
    """Too few successive steps were recorded to compare their gradients."""

    pairs: int


class NonFinite(Judged, frozen=True):
    """NaN or infinities: how far the weights come is not known."""

    step: int


class Noise(Judged, frozen=True):
    """Layers whose successive gradients do not agree, and whose weights shrink; the numbers are the first one's."""

    tensors: tuple[str, ...]  # the one that lost most first
    module: str
    cosine: float  # of successive gradients, median absolute value
    cosine_of_others: float  # median of the other layers
    left: float  # last norm / first
    left_of_others: float  # median of the other layers
    held: float  # last norm / first, without what weight decay took
    held_of_others: float  # median of the other layers
    bias_cosine: float | None  # where the gradients of its bias agree
    sampled: bool  # one term of the objective reaches other modules, and not these, as that of a latent's prior
    before_one_output: bool  # the cosines of all layers are far from 0, and other limits hold
    cosine_limit: float
    held_limit: float
    columns: Integers  # of these layers in the matrices of the training
    others: Integers  # columns of the other layers
    cosines: Floats  # [tensors]
    span: Span


class NoNoise(Judged, frozen=True):
    """No layer is behind noise; this is the one whose gradients agree least."""

    tensor: str
    cosine: float  # of successive gradients, median absolute value
    left: float  # last norm / first


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("tensors.gradient_cosine", "tensors.weight_norm"),
    minimum_steps=200,
    explains=("layer_imbalance", "no_learning"),
)
def noise_module(
    training: Training, limits: Limits
) -> Iterator[Noise | NoNoise | NonFinite | FewPairs | NotApplicable | Skipped]:
    """Look for weights behind an input of noise, which training shrinks."""
    layers = successive_gradients(training)
    if layers.comparable.sum() < 2:
        yield NotApplicable(reason="the model has fewer than two weight layers that can be compared")
        return
    if not layers.judged.any():
        yield NotApplicable(
            reason="every weight is too small for this, or it is not known how much the weight decay takes from it"
        )
        return
    if layers.pairs < _LEAST_PAIRS or not numpy.isfinite(layers.cosines[layers.judged]).any():
        yield FewPairs(pairs=layers.pairs)
        return
    if early := weights_at_the_end(training):
        yield early
        return
    limit = numpy.where(layers.bias_cosines >= _STEADY, max(limits.shrunk, _BARELY), limits.shrunk)
    noise, single = _behind_noise(layers, limit, limits), _before_one_output(training, layers, limits)
    if noise.any():
        weakest = noise & (layers.left == layers.left[noise].min())
        yield _noise(training, layers, noise, limits.cosine, float(limit[weakest][0]))
    elif single.any():
        before_one = _noise(training, layers, single, _HALF_STEADY, limits.down)
        yield msgspec.structs.replace(before_one, before_one_output=True)
    elif (broken := non_finite_onset(training)) is not None and not broken.recovered:
        yield NonFinite(step=broken.step)
    else:
        known = layers.judged & numpy.isfinite(layers.cosines)
        least = int(numpy.argmin(numpy.where(known, layers.cosines, numpy.inf)))
        yield NoNoise(
            tensor=training.tensors[least].name,
            cosine=float(layers.cosines[least]),
            left=float(layers.left[least]),
        )


def _behind_noise(layers: SuccessiveGradients, limit: Floats, limits: Limits) -> Mask:
    """[tensors]: weights that shrink below `limit`, [tensors], along gradients that point anywhere."""
    others = medians_of_others(layers.held, layers.comparable)
    shrinks = (layers.held < limit) & (others >= 1.0)
    return numpy.asarray(layers.judged & (layers.cosines < limits.cosine) & shrinks)


def _before_one_output(training: Training, layers: SuccessiveGradients, limits: Limits) -> Mask:
    """[tensors]: weights that shrink among others that grow, where the gradients of all layers have one direction."""
    others = medians_of_others(layers.held, layers.comparable)
    shrinks = (layers.held < limits.down) & (others >= _GROWN) & ~_last(training.tensors, layers.comparable)
    one_direction = (layers.bias_cosines >= _ONE_DIRECTION) & (layers.cosines < _HALF_STEADY)
    agrees_less = layers.cosines < medians_of_others(layers.cosines, layers.comparable)
    return numpy.asarray(layers.judged & one_direction & shrinks & agrees_less)


def _noise(
    training: Training, layers: SuccessiveGradients, found: Mask, cosine_limit: float, held_limit: float
) -> Noise:
    tensors, steps = training.tensors, training.recorded_global_steps
    columns = numpy.asarray(sorted(numpy.flatnonzero(found).tolist(), key=lambda i: float(layers.left[i])))
    others = numpy.flatnonzero(layers.comparable & ~found)
    worst = int(columns[0])
    agreement = bias_cosine(training, layers.cosines, worst)
    return Noise(
        tensors=tuple(tensors[int(i)].name for i in columns),
        module=tensors[worst].module or tensors[worst].name,
        cosine=float(layers.cosines[worst]),
        cosine_of_others=median(layers.cosines[others]),
        left=float(layers.left[worst]),
        left_of_others=median(layers.left[others]),
        held=float(layers.held[worst]),
        held_of_others=float(medians_of_others(layers.held, layers.comparable)[worst]),
        bias_cosine=agreement if agreement > min(0.9, 3 * cosine_limit) else None,
        sampled=_sampled(training, {tensors[int(column)].id for column in columns}),
        before_one_output=False,
        cosine_limit=cosine_limit,
        held_limit=held_limit,
        columns=columns,
        others=others,
        cosines=layers.cosines,
        span=Span(first=int(steps[0]), last=int(steps[-1])),
    )


def _sampled(training: Training, found: set[int]) -> bool:
    """Whether a term reaches a part of what another one reaches, and nothing of these tensors: a variational bound."""
    reached = [set(term.tensors) for term in training.run.meta.graph.terms if term.used]
    whole = [one for one in reached if found <= one]
    return any(part < one and len(part) > 1 and not part & found for part in reached for one in whole)


def _last(tensors: Sequence[TensorFacts], layers: Mask) -> Mask:
    """[tensors]: the layer that makes the output, which is not in front of it."""
    depths = numpy.asarray([t.depth for t in tensors])
    return numpy.asarray(layers & (depths == depths[layers].max()))


@noise_module.tell
def _few_pairs(found: FewPairs) -> Skipped:
    return Skipped(
        reason=f"of steps 2 to 60 only {plural(found.pairs, 'pair')} of successive steps were recorded, and this check "
        f"needs {_LEAST_PAIRS}",
        enable="record every step at the start: --every 1",
    )


@noise_module.tell
def _non_finite(found: NonFinite) -> Skipped:
    return Skipped(
        reason=f"from step {count(found.step)} on there are NaN or infinities, so how far the weights come is not "
        "known",
        enable="fix what non_finite reports",
    )


@noise_module.tell
def _no_noise(found: NoNoise) -> Clean:
    return Clean(
        measured=f"from step to step the gradients agree least in {found.tensor} (cosine {number(found.cosine, 2)}); "
        f"its weights end at {factor(found.left)} times their first norm"
    )


@noise_module.tell
def _finding(found: Noise, training: Training) -> Finding:
    module = found.module if len(found.module) <= _LONGEST_NAME else "a module"
    return Finding(
        severity=Severity.NOTE if found.sampled else Severity.WARNING,
        confidence=Confidence.MEDIUM,
        title="Module adds only noise",
        headline=f"Successive gradients of {module} have a cosine of {number(found.cosine, 2)}, and its weight shrinks "
        f"to {percent(found.left)}",
        explanation=_explanation(found),
        span=found.span,
        tensors=list(found.tensors[:20]),
        evidence=[
            cosine_dots(training, found.cosines, found.columns, found.others, found.cosine_limit),
            noisy_layers(training, found.columns, found.others),
        ],
        actions=[
            Action(text="Compare two passes of one batch in evaluation mode: they must differ by 0",
                   code="model.eval()\nprint((model(x) - model(x)).abs().max())"),
            Action(text=f"Look in and in front of {in_code(found.module)} for random numbers (randn, rand, a sampling "
                   "step) and uninitialised memory (torch.empty), and feed it the activations instead"),
            Action(text="If the noise is meant to regularise, scale it to a tenth of the standard deviation of the "
                   "activations, in training mode only", code="x + 0.1 * x.std() * torch.randn_like(x)"),
        ],
        measures=[
            Measure(quantity="cosine of successive gradients, median absolute value", value=found.cosine,
                    comparison="<", threshold=found.cosine_limit, option="" if found.before_one_output else "cosine"),
            Measure(quantity="last norm / first, without decay", value=found.held, comparison="<",
                    threshold=found.held_limit, option="down" if found.before_one_output else "shrunk"),
            Measure(quantity="last norm / first, median of the other layers", value=found.held_of_others,
                    comparison=">=", threshold=_GROWN if found.before_one_output else 1),
        ],
    )  # fmt: skip


def _explanation(found: Noise) -> str:
    sentences = [
        f"Over steps {EARLY[0]} to {EARLY[1]} the gradient of {found.tensors[0]} has a cosine of "
        f"{number(found.cosine, 2)} with that of the step before (median of the absolute values); the other layers "
        f"have {number(found.cosine_of_others, 2)}. The norm of the weight ends at {percent(found.left)} of its first "
        f"value, that of the others at {percent(found.left_of_others)}."
    ]
    if found.bias_cosine is None:
        sentences.append("That is how a layer behaves whose input is noise.")
    else:
        sentences.append(
            f"The gradients of its bias agree (cosine {number(found.bias_cosine, 2)}): the loss reaches the module, so "
            "it is the input that is noise."
        )
    if len(found.tensors) > 1:
        sentences.append(f"{count(len(found.tensors))} layers are like this: {names(list(found.tensors), 4)}.")
    return " ".join(sentences)
