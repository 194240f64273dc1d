"""How much clipping took away: the norm before it over the threshold, and whether the record can tell."""

from typing import Literal

import msgspec
import numpy

from gradaudit.signals.order_statistics import Floats, Integers, Mask, median
from gradaudit.training import Training, signal

BY_NORM, BY_VALUE = 1, 2


class Clipping(msgspec.Struct, frozen=True, eq=False):
    """Clipping by norm or by value over the last half of an optimizer's steps."""

    kind: Literal["norm", "value"]
    since: int  # global step of the first clipping of this kind in the whole run
    steps: Integers  # [steps] global steps
    size: Floats  # [steps] the norm before clipping; by value: the largest element after it
    threshold: Floats  # [steps]
    clipped: float  # share of the steps that it changed
    excess: float  # median size over threshold; by value: RMS of all elements after clipping over the threshold
    divided: float  # median norm before clipping over that after it; NaN where either is unknown
    partial: bool  # only a part of the optimizer's tensors was clipped, so the norm is not theirs


@signal
def clipping(training: Training) -> Clipping | None:
    """What was clipped in the last half of the run; None when nothing was."""
    whole = training.steps
    frame = whole[len(whole) // 2 :]
    kinds = frame["clip_kind"].to_numpy()
    if not len(kinds) or not (kinds > 0).any():
        return None
    kind = BY_NORM if (kinds == BY_NORM).sum() >= (kinds == BY_VALUE).sum() else BY_VALUE
    frame = frame[kinds == kind]
    threshold = frame["clip_threshold"].to_numpy(dtype=float)
    share_of_steps = len(frame) / len(kinds)
    if kind == BY_NORM:
        size = frame["gradient_norm"].to_numpy(dtype=float)
        after = after_clipping(training, frame["step"].to_numpy(), "norm")
        with numpy.errstate(divide="ignore", invalid="ignore"):
            over = size / threshold
            partial = median(after / threshold) > 1.05
            divided = median(over)
        clipped, excess = _share(over > 1, over) * share_of_steps, median(over)
    else:
        size = after_clipping(training, frame["step"].to_numpy(), "largest")
        typical = after_clipping(training, frame["step"].to_numpy(), "rms")
        with numpy.errstate(divide="ignore", invalid="ignore"):
            over = size / threshold
            partial = median(over) > 1.05
            after = after_clipping(training, frame["step"].to_numpy(), "norm")
            divided = median(frame["gradient_norm"].to_numpy(dtype=float) / after)
        clipped, excess = _share(over > 0.999, over) * share_of_steps, median(typical / threshold)
    return Clipping(
        kind="norm" if kind == BY_NORM else "value",
        since=int(whole["global_step"][whole["clip_kind"] == kind].iloc[0]),
        steps=frame["global_step"].to_numpy(dtype=numpy.int64),
        size=size,
        threshold=threshold,
        clipped=clipped,
        excess=excess,
        divided=divided,
        partial=bool(partial),
    )


def _share(happened: Mask, of: Floats) -> float:
    known = numpy.isfinite(of)
    return float((happened & known).sum() / known.sum()) if known.any() else 0.0


def after_clipping(training: Training, steps: Integers, what: Literal["norm", "largest", "rms"]) -> Floats:
    """[steps]: of the whole gradient after clipping, from the tensors' statistics; NaN where none were recorded."""
    tensors = training.tensors
    owned = numpy.asarray([tensor.optimizer == training.id for tensor in tensors], dtype=bool)
    recorded = training.recorded
    if not owned.any() or not len(recorded):
        return numpy.full(len(steps), numpy.nan)
    if what == "largest":
        greatest = training.matrix("gradient_max_abs")[:, owned]
        values = numpy.where(numpy.isfinite(greatest), greatest, 0.0).max(axis=1)
    else:
        norms = training.matrix("gradient_norm")[:, owned]
        size = sum(tensor.elements for tensor in tensors if tensor.optimizer == training.id) if what == "rms" else 1
        with numpy.errstate(over="ignore"):
            values = numpy.sqrt(numpy.nansum(norms**2, axis=1) / max(1, size))
    place = numpy.clip(numpy.searchsorted(recorded, steps), 0, len(recorded) - 1)
    return numpy.where(recorded[place] == steps, values[place], numpy.nan)
