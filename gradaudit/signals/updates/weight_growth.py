"""How the weights grow or shrink over a run, and the weight decay that was set."""

import math

import numpy

from gradaudit.signals.layers.layers import weight_layers, zero_initialised
from gradaudit.signals.order_statistics import Floats, medians_across
from gradaudit.signals.updates.learning_rates import optimizer_class
from gradaudit.training import Training, signal

_WITHIN = 10  # steps


def norms_over_first(training: Training) -> Floats:
    """[recorded steps, tensors]: L2 norm of the weights over the first finite one; NaN where that is 0 or unknown."""
    norms = training.matrix("weight_norm")
    if not len(norms):
        return norms
    first = norms[numpy.argmax(numpy.isfinite(norms), axis=0), numpy.arange(norms.shape[1])]
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.where((first > 0) & numpy.isfinite(first), norms / first, numpy.nan)


@signal
def fastest_growth(training: Training) -> tuple[float, int]:
    """How many times its size the median weight layer reaches within ten steps at most, and the first of the ten.

    NaN and -1 where no ten steps in a row hold two recorded ones. Layers that start at zero grow by any factor and are
    left out.
    """
    chosen = weight_layers(training) & ~zero_initialised(training)
    norms, steps = training.matrix("weight_norm")[:, chosen], training.recorded
    last = numpy.searchsorted(steps, steps + _WITHIN, side="right") - 1
    with numpy.errstate(divide="ignore", invalid="ignore", over="ignore"):
        times = medians_across(norms[last] / norms)
    known = numpy.flatnonzero((last > numpy.arange(len(steps))) & numpy.isfinite(times))
    if not len(known):
        return math.nan, -1
    first = int(known[numpy.argmax(times[known])])
    return float(times[first]), int(training.recorded_global_steps[first])


@signal
def weight_decays(training: Training) -> Floats:
    """[parameter groups]: the greatest weight decay of each group over the run; 0 where none was recorded."""
    decays = training.of_groups("weight_decay")
    most = float(numpy.finfo(numpy.float32).max)
    return numpy.asarray(numpy.nan_to_num(decays, copy=False, posinf=most).max(axis=0, initial=0.0))


@signal
def decay_paths(training: Training) -> Floats:
    """[parameter groups]: what weight decay alone takes off the logarithm of a weight, over the whole run.

    Learning rate times decay, summed over the steps, with the greatest decay of each group. NaN where the decay
    passes the optimizer's own scaling, as in Adam: there the product says nothing.
    """
    decays, rates = weight_decays(training), training.learning_rates
    groups = max(len(decays), rates.shape[1])
    paths = numpy.zeros(groups)
    paths[: rates.shape[1]] = numpy.nan_to_num(rates).sum(axis=0)
    decays = numpy.pad(decays, (0, groups - len(decays)))
    if optimizer_class(training) not in ("SGD", "AdamW"):
        return numpy.where(decays > 0, numpy.nan, 0.0)
    return numpy.asarray(paths * decays * momentum_gain(training))


def momentum_gain(training: Training) -> float:
    """How many times momentum repeats what one step does: SGD's 1 / (1 - momentum), less what is dampened."""
    facts = training.optimizer
    if facts is None or facts.optimizer_class != "SGD":
        return 1.0
    momentum, dampening = facts.defaults.get("momentum"), facts.defaults.get("dampening")
    known = isinstance(momentum, float) and 0 <= momentum < 1
    kept = 1 - dampening if isinstance(dampening, float) and momentum else 1.0
    return kept / (1 - momentum) if known and isinstance(momentum, float) else 1.0
