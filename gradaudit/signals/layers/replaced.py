"""Where the weights became others than those that were trained so far: NaN, blown up in one step, or written over."""

import numpy

from gradaudit.signals.layers.layers import weight_layers, zero_initialised
from gradaudit.training import Training, signal

_LEAP = 1.0  # update over weight: nothing of what a layer was is left; healthy runs peak at 0.3
_WRITTEN = 0.5  # of the weights, and twice the update: how far they are from where the step left them
_MOST = 0.5  # of the layers


@signal
def replaced_at(training: Training) -> int | None:
    """The first global step whose gradients are those of other weights, or None.

    What is measured from there on, as a profile of gradients, is a consequence and tells nothing of the model.
    """
    chosen = weight_layers(training) & ~zero_initialised(training)
    weights, updates, drifts = (
        training.matrix(stat)[:, chosen] for stat in ("weight_norm", "update_norm", "drift_norm")
    )
    steps, own = training.recorded_global_steps, training.recorded
    if not weights.size:
        return None
    known = training.matrix("has_grad")[:, chosen] > 0
    with numpy.errstate(invalid="ignore", over="ignore"):
        broken = known & ~numpy.isfinite(weights)
        leapt = known & (updates >= _LEAP * weights)  # an update that is not known is none
        # Only what was recorded step by step tells what the script did between two of them.
        apart = numpy.maximum(numpy.abs(numpy.diff(weights, axis=0)), numpy.abs(numpy.diff(drifts, axis=0)))
        written = (apart > 2 * updates[:-1] + _WRITTEN * weights[:-1]) & (numpy.diff(own) == 1)[:, None]
    at = [
        *numpy.flatnonzero(broken.mean(axis=1) >= _MOST),
        *(numpy.flatnonzero(leapt.mean(axis=1) >= _MOST) + 1),
        *(numpy.flatnonzero(written.mean(axis=1) >= _MOST) + 1),
    ]
    first = min((int(row) for row in at), default=None)
    if first is None:
        return None
    return int(steps[first]) if first < len(steps) else int(steps[-1]) + 1
