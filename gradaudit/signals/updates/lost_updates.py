"""Updates of half-precision weights that are below half of the distance to the next number, and so change nothing."""

import msgspec
import numpy

from gradaudit.schema import TensorFacts
from gradaudit.signals.gradients.finiteness import skipped_at
from gradaudit.signals.order_statistics import Floats, Integers, medians
from gradaudit.signals.updates.learning_rates import recorded_learning_rates
from gradaudit.training import Training, signal

HALF = ("float16", "bfloat16")
_LEAST_STEPS = 20
_TRAINING = 0.5  # of a group's largest learning rate: warmup and the end of a schedule lose updates by design


class LostUpdates(msgspec.Struct, frozen=True, eq=False):
    """The elements with a gradient that a step left as they were, of the weights in half precision."""

    tensors: list[TensorFacts]
    steps: Integers  # [steps] global
    over_time: Floats  # [steps] share of all their elements
    shares: Floats  # [tensors] median over the steps
    share: float  # of all their elements


@signal
def lost_updates(training: Training) -> LostUpdates | None:
    """What rounding undoes of the updates; None without half-precision weights or with too few steps to tell.

    Elements whose gradient is exactly zero are taken off: no update was meant for them. The steps are those
    at half of the largest learning rate or more.
    """
    tensors = training.tensors
    mine = [
        i for i, t in enumerate(tensors) if t.dtype in HALF and t.optimizer == training.id and t.role != "embedding"
    ]
    rates = recorded_learning_rates(training)
    if not mine or not numpy.isfinite(rates[:, mine]).any():
        return None
    peaks = numpy.nanmax(numpy.where(numpy.isfinite(rates), rates, 0.0), axis=0)
    at_work = (rates[:, mine] >= _TRAINING * peaks[mine]).all(axis=1) & ~skipped_at(training)
    still, unasked = (training.matrix(stat) for stat in ("unchanged_fraction", "gradient_zero_fraction"))
    lost = numpy.clip(still - unasked, 0.0, 1.0)[at_work][:, mine]
    kept = [k for k in range(len(mine)) if numpy.isfinite(lost[:, k]).sum() >= _LEAST_STEPS]
    if not kept:
        return None
    lost = lost[:, kept]
    size = numpy.asarray([float(tensors[mine[k]].elements) for k in kept])
    known = numpy.isfinite(lost)
    mass = (known * size).sum(axis=1)
    with numpy.errstate(invalid="ignore", divide="ignore"):
        over_time = numpy.where(mass > 0, (numpy.where(known, lost, 0.0) * size).sum(axis=1) / mass, numpy.nan)
    shares = medians(lost)
    return LostUpdates(
        tensors=[tensors[mine[k]] for k in kept],
        steps=training.recorded_global_steps[at_work],
        over_time=over_time,
        shares=shares,
        share=float((shares * size).sum() / size.sum()),
    )
