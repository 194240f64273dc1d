"""How large a step is by its optimizer's formula: what clipping and Adam's eps leave of it, what weights can hold."""

import math

import numpy

from gradaudit.signals.gradients.clipping import after_clipping
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.order_statistics import Floats, Mask, largest, medians
from gradaudit.signals.updates.learning_rates import is_adaptive, recorded_learning_rates
from gradaudit.training import Training, signal

# Of a weight: half the distance to the next number, which is what rounding takes from an update.
_HALF_A_STEP = {"float64": 2.0**-54, "float32": 2.0**-25, "bfloat16": 2.0**-9, "float16": 2.0**-12}


def adam_eps(training: Training) -> float:
    """The eps of an Adam-like optimizer; 0 for others."""
    facts = training.optimizer
    value = facts.defaults.get("eps") if facts and "adam" in facts.optimizer_class.lower() else None
    return float(value) if isinstance(value, int | float) else 0.0


@signal
def clipped_away(training: Training) -> Floats:
    """[recorded steps]: the norm of the gradient before clipping over that after it; 1 where nothing was clipped."""
    frame, recorded = training.steps, training.recorded
    own = frame["step"].to_numpy(dtype=numpy.int64)
    if not len(own) or not len(recorded):
        return numpy.ones(len(recorded))
    place = numpy.clip(numpy.searchsorted(own, recorded), 0, len(own) - 1)
    before = frame["gradient_norm"].to_numpy(dtype=float)[place]
    with numpy.errstate(divide="ignore", invalid="ignore"):
        factor = before / after_clipping(training, recorded, "norm")
    clipped = (frame["clip_kind"].to_numpy()[place] > 0) & (own[place] == recorded)
    return numpy.where(clipped & numpy.isfinite(factor) & (factor > 1), factor, 1.0)


def gradients_per_element(training: Training, rows: Mask, *, clipped: bool) -> Floats:
    """[tensors]: median over the chosen recorded steps of the root mean square of the gradient.

    As the optimizer saw it, or not `clipped`: as it was before.
    """
    size = numpy.sqrt([max(1, tensor.elements) for tensor in training.tensors])
    norms = training.matrix("gradient_norm")
    if not clipped:
        norms = norms * clipped_away(training)[:, None]
    typical: Floats = medians(norms[rows]) / size
    return typical


def over_eps(training: Training, rows: Mask, *, clipped: bool) -> float:
    """Largest gradient per element of a weight layer over Adam's eps; infinite where there is none."""
    eps, chosen = adam_eps(training), weight_layers(training)
    if not eps or not rows.any() or not chosen.any():
        return math.inf
    largest_gradient = largest(gradients_per_element(training, rows, clipped=clipped)[chosen])
    return largest_gradient / eps if largest_gradient > 0 else math.inf


@signal
def below_precision(training: Training) -> Mask:
    """[tensors]: whether at a typical step the learning rate times the gradient is lost in the rounding of the weights.

    The gradient counts as 1 under optimizers that divide out its size, as far as their eps allows.
    """
    tensors = training.tensors
    size = numpy.sqrt([max(1, tensor.elements) for tensor in tensors])
    gradients = training.matrix("gradient_norm") / size
    with numpy.errstate(divide="ignore", invalid="ignore"):
        if is_adaptive(training):
            gradients = numpy.where(gradients > 0, gradients / (gradients + adam_eps(training)), numpy.nan)
        update = medians(recorded_learning_rates(training) * gradients)
        weights = medians(training.matrix("weight_norm")) / size
        least = weights * numpy.asarray([_HALF_A_STEP.get(tensor.dtype, 0.0) for tensor in tensors])
        return numpy.asarray((update > 0) & (update < least))
