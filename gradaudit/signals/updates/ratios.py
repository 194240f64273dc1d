"""How fast weights change: update-to-weight and gradient-to-weight ratios, and the steps they belong to."""

import numpy

from gradaudit.signals.layers.layers import embeddings, weight_layers, zero_initialised
from gradaudit.signals.order_statistics import Floats, Mask, medians_across
from gradaudit.training import Training, signal

_COLLAPSED = 0.3  # of the first norm: weight decay ate the weights, and the ratio grows without any learning


def _over_weights(training: Training, stat: str) -> Floats:
    weights = training.matrix("weight_norm")
    with numpy.errstate(divide="ignore", invalid="ignore"):
        ratio = training.matrix(stat) / weights
    return numpy.where((weights > 0) & numpy.isfinite(weights) & numpy.isfinite(ratio), ratio, numpy.nan)


def update_ratio(training: Training) -> Floats:
    """[recorded steps, tensors]: L2 norm of the update over that of the weights; NaN where either is unknown or 0/0."""
    return _over_weights(training, "update_norm")


def gradient_ratio(training: Training) -> Floats:
    """[recorded steps, tensors]: L2 norm of the gradient over that of the weights."""
    return _over_weights(training, "gradient_norm")


@signal
def median_update_ratio(training: Training) -> Floats:
    """[recorded steps]: median update-to-weight ratio over the weight layers that did not start at zero.

    Weights that shrank below 0.3 of their first norm are left out: their ratio grows by shrinking.
    """
    chosen = weight_layers(training) & ~zero_initialised(training)
    ratio = update_ratio(training)[:, chosen]
    weights = training.matrix("weight_norm")[:, chosen]
    if not ratio.size:
        return numpy.full(len(ratio), numpy.nan)
    with numpy.errstate(invalid="ignore"):
        shrunk = weights < _COLLAPSED * weights[0]
    return medians_across(numpy.where(shrunk, numpy.nan, ratio))


def largest_updates(training: Training, row: int, most: int = 3) -> dict[str, float]:
    """The weight layers with the largest finite update-to-weight ratios at a recorded step, and the ratios."""
    ratios = numpy.nan_to_num(update_ratio(training)[row], nan=-1.0, posinf=-1.0)
    ratios = numpy.where(weight_layers(training), ratios, -1.0)
    tensors = training.tensors
    return {tensors[int(i)].name: float(ratios[i]) for i in numpy.argsort(-ratios)[:most] if ratios[i] > 0}


@signal
def judged_tensors(training: Training) -> Mask:
    """[tensors]: weight layers and embedding tables that did not start at zero and are trained."""
    owned = numpy.asarray([t.requires_grad and t.optimizer >= 0 for t in training.tensors], dtype=bool)
    chosen: Mask = weight_layers(training) | embeddings(training)
    return numpy.asarray(chosen & owned & ~zero_initialised(training))


@signal
def step_weights(training: Training) -> Floats:
    """[recorded steps]: how many steps each recorded one stands for, up to the next recorded one."""
    recorded = training.recorded
    if not len(recorded):
        return numpy.zeros(0)
    gaps = numpy.diff(recorded)
    last = gaps[-1] if len(gaps) else 1
    return numpy.append(gaps, last).astype(numpy.float64)


def window(training: Training, first: float, last: float) -> Mask:
    """[recorded steps]: those with `first` <= step <= `last`, in this optimizer's own steps."""
    recorded = training.recorded
    return (recorded >= first) & (recorded <= last)


def last_half(training: Training) -> Mask:
    """[recorded steps]: those in the second half of this optimizer's steps."""
    frame = training.steps
    total = int(frame["step"].max()) + 1 if len(frame) else 0
    return window(training, total // 2, total)
