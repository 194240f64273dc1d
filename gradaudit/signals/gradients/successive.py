"""How the gradients of successive steps agree in each layer, beside what becomes of its weights."""

import math
from collections.abc import Sequence

import msgspec
import numpy

from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.layers import comparable_layers
from gradaudit.signals.order_statistics import Floats, Mask, medians
from gradaudit.signals.updates.ratios import window
from gradaudit.signals.updates.weight_growth import decay_paths, norms_over_first
from gradaudit.training import Training

EARLY = (2, 60)  # steps
_LEAST_ELEMENTS = 100  # the cosine of two random vectors of n elements has a standard deviation of 1 / sqrt(n)
_LEAST_BIAS = 8  # elements: the cosine of two numbers is 1 or -1 whatever they are
_MOST_TAKEN = 50.0  # as a logarithm: beyond that nothing is left to judge


class SuccessiveGradients(msgspec.Struct, frozen=True, eq=False):
    """The cosines of successive gradients over the early steps, and how far the weights come by the end of the run."""

    pairs: int  # of successive recorded steps
    comparable: Mask  # [tensors]
    judged: Mask  # [tensors] those of them that are large enough, and whose decay is known
    cosines: Floats  # [tensors] median absolute value
    bias_cosines: Floats  # [tensors] that of the bias beside a weight; 0 where there is none, or a small one
    left: Floats  # [tensors] last norm / first
    held: Floats  # [tensors] the same without what weight decay took


def successive_gradients(training: Training) -> SuccessiveGradients:
    """Measure all tensors of a training."""
    tensors, paths = training.tensors, decay_paths(training)
    taken = numpy.asarray([paths[t.group] if 0 <= t.group < len(paths) else 0.0 for t in tensors])
    large = numpy.asarray([t.elements >= _LEAST_ELEMENTS for t in tensors], dtype=bool)
    rows = _successive(training)
    cosines = medians(numpy.abs(training.matrix("gradient_cosine")[rows]))
    norms = norms_over_first(training)
    left = norms[-1] if len(norms) else numpy.full(len(tensors), numpy.nan)
    return SuccessiveGradients(
        pairs=int(rows.sum()),
        comparable=comparable_layers(training),
        judged=comparable_layers(training) & large & numpy.isfinite(taken),
        cosines=cosines,
        bias_cosines=_of_bias(tensors, cosines),
        left=left,
        held=left * numpy.exp(numpy.minimum(taken, _MOST_TAKEN)),
    )


def bias_cosine(training: Training, cosines: Floats, weight: int) -> float:
    """That of `cosines` [tensors] of the first bias beside the weight in this column; NaN where there is none."""
    tensors = training.tensors
    bias = _first_biases(tensors).get(tensors[weight].module)
    return math.nan if bias is None else float(cosines[bias])


def _successive(training: Training) -> Mask:
    """[recorded steps]: those of the early window whose step before was recorded, too."""
    recorded = training.recorded
    gaps = numpy.diff(recorded, prepend=recorded[:1] - 2)
    return numpy.asarray(window(training, *EARLY) & (gaps == 1))


def _of_bias(tensors: Sequence[TensorFacts], cosines: Floats) -> Floats:
    """[tensors]: for each weight the value of the first bias of its module; 0 where there is none, or a small one."""
    biases = _first_biases(tensors)
    values = [float(cosines[biases[t.module]]) if t.role == "weight" and t.module in biases else 0.0 for t in tensors]
    return numpy.asarray(numpy.nan_to_num(values), dtype=float)


def _first_biases(tensors: Sequence[TensorFacts]) -> dict[str, int]:
    """The column of the first bias of each module that is not small: a recurrent module has several."""
    large = [i for i, t in enumerate(tensors) if t.role == "bias" and t.elements >= _LEAST_BIAS]
    return {tensors[i].module: i for i in reversed(large)}
