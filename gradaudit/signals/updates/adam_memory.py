"""What Adam and RMSprop remember of the size of each gradient, and the eps that they add to it."""

import numpy

from gradaudit.signals.order_statistics import Floats
from gradaudit.signals.updates.step_size import adam_eps, clipped_away
from gradaudit.training import Training, signal


def eps_of(training: Training) -> float:
    """The eps of an optimizer that divides by the size of the gradient plus eps, as Adam and RMSprop do; else 0.

    Adadelta has its eps under the root, Adagrad never forgets a square.
    """
    facts = training.optimizer
    value = facts.defaults.get("eps") if facts and "rmsprop" in facts.optimizer_class.lower() else None
    eps = float(value) if isinstance(value, int | float) else adam_eps(training)
    return eps if eps > 0 else 0.0


@signal
def remembered(training: Training) -> Floats:
    """[recorded steps, tensors]: root of the running mean of squared gradients, per element; NaN where unknown.

    The mean over a tensor's elements of what the optimizer keeps for each of them, of gradients before clipping,
    corrected for its start at zero. A step between two recorded ones is taken to have the gradient of the later one,
    and a step without a gradient to change nothing.
    """
    norms = training.matrix("gradient_norm") * clipped_away(training)[:, None]
    broken = numpy.nan_to_num(training.matrix("gradient_nan") + training.matrix("gradient_inf")) > 0
    elements = numpy.asarray([max(1, tensor.elements) for tensor in training.tensors], dtype=numpy.float64)
    squares = numpy.where(broken, numpy.nan, norms**2 / elements)
    found = numpy.full(squares.shape, numpy.nan)
    memory, weight = numpy.zeros(squares.shape[1]), numpy.zeros(squares.shape[1])
    kept, before = _kept(training), -1
    for row, step in enumerate(training.recorded.tolist()):
        share = kept ** max(1, step - before)
        before = step
        known = numpy.isfinite(squares[row])
        memory = numpy.where(known, share * memory + (1 - share) * squares[row], memory)
        weight = numpy.where(known, share * weight + (1 - share), weight)
        with numpy.errstate(divide="ignore", invalid="ignore"):
            found[row] = numpy.sqrt(memory / weight)
    return found


def _kept(training: Training) -> float:
    """The share of the mean that one step keeps: Adam's second beta, RMSprop's alpha."""
    facts = training.optimizer
    defaults = facts.defaults if facts else {}
    if facts and "rmsprop" in facts.optimizer_class.lower():
        value, usual = defaults.get("alpha"), 0.99
    else:
        betas = defaults.get("betas")
        value, usual = betas[1] if isinstance(betas, list) and len(betas) > 1 else None, 0.999
    return float(value) if isinstance(value, int | float) and 0 <= value < 1 else usual
