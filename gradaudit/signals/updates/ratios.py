"""How fast weights change: update-to-weight and gradient-to-weight ratios, and the steps they belong to."""

import numpy

from gradaudit.reading.run import Run
from gradaudit.signals.layers.layers import embeddings, weight_layers, zero_start
from gradaudit.signals.order_statistics import Floats, Integers, Mask, medians_across
from gradaudit.signals.per_run import per_run

_COLLAPSED = 0.3  # of the first norm: weight decay ate the weights, and the ratio grows without any learning


def _over_weights(run: Run, stat: str, optimizer: int) -> Floats:
    weights = run.matrix("weight_norm", optimizer)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        ratio = run.matrix(stat, optimizer) / weights
    return numpy.where((weights > 0) & numpy.isfinite(weights) & numpy.isfinite(ratio), ratio, numpy.nan)


def update_ratio(run: Run, optimizer: int) -> Floats:
    """[recorded steps, tensors]: L2 norm of the update over that of the weights; NaN where either is unknown or 0/0."""
    return _over_weights(run, "update_norm", optimizer)


def gradient_ratio(run: Run, optimizer: int) -> Floats:
    """[recorded steps, tensors]: L2 norm of the gradient over that of the weights."""
    return _over_weights(run, "gradient_norm", optimizer)


@per_run
def typical_update(run: Run, optimizer: int) -> Floats:
    """[recorded steps]: median update-to-weight ratio over the weight layers that did not start at zero.

    Weights that shrank below 0.3 of their first norm are left out: their ratio grows by shrinking.
    """
    chosen = weight_layers(run, optimizer) & ~zero_start(run, optimizer)
    ratio = update_ratio(run, optimizer)[:, chosen]
    weights = run.matrix("weight_norm", optimizer)[:, chosen]
    if not ratio.size:
        return numpy.full(len(ratio), numpy.nan)
    with numpy.errstate(invalid="ignore"):
        shrunk = weights < _COLLAPSED * weights[0]
    return medians_across(numpy.where(shrunk, numpy.nan, ratio))


@per_run
def judged_tensors(run: Run, optimizer: int) -> Mask:
    """[tensors]: weight layers and embedding tables that did not start at zero and are trained."""
    owned = numpy.asarray([t.requires_grad and t.optimizer >= 0 for t in run.tensors_of(optimizer)], dtype=bool)
    chosen: Mask = weight_layers(run, optimizer) | embeddings(run, optimizer)
    return numpy.asarray(chosen & owned & ~zero_start(run, optimizer))


@per_run
def recorded_global_steps(run: Run, optimizer: int) -> Integers:
    """[recorded steps]: the global step of each recorded step of this optimizer."""
    frame = run.steps_of(optimizer)
    own = frame["step"].to_numpy(dtype=numpy.int64)
    everywhere = frame["global_step"].to_numpy(dtype=numpy.int64)
    recorded = run.recorded_steps(optimizer)
    if not len(own):
        return recorded
    place = numpy.clip(numpy.searchsorted(own, recorded), 0, len(own) - 1)
    # A part of `steps` may be lost while its statistics survive: those keep their own count.
    return numpy.where(own[place] == recorded, everywhere[place], recorded)


@per_run
def step_weights(run: Run, optimizer: int) -> Floats:
    """[recorded steps]: how many steps each recorded one stands for, up to the next recorded one."""
    recorded = run.recorded_steps(optimizer)
    if not len(recorded):
        return numpy.zeros(0)
    gaps = numpy.diff(recorded)
    last = gaps[-1] if len(gaps) else 1
    return numpy.append(gaps, last).astype(numpy.float64)


def window(run: Run, optimizer: int, first: float, last: float) -> Mask:
    """[recorded steps]: those with `first` <= step <= `last`, in this optimizer's own steps."""
    recorded = run.recorded_steps(optimizer)
    return (recorded >= first) & (recorded <= last)


def last_half(run: Run, optimizer: int) -> Mask:
    """[recorded steps]: those in the second half of this optimizer's steps."""
    frame = run.steps_of(optimizer)
    total = int(frame["step"].max()) + 1 if len(frame) else 0
    return window(run, optimizer, total // 2, total)
