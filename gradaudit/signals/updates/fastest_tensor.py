"""The tensor that changes most from step to step, beside its own size."""

import msgspec
import numpy

from gradaudit.signals.order_statistics import Floats, Integers, quantile
from gradaudit.signals.updates.ratios import judged_tensors, step_weights, update_ratio
from gradaudit.training import Training

_PERCENTILE = 0.95  # of the steps: a warmup and the tail of a cosine do not count


class FastestTensor(msgspec.Struct, frozen=True, eq=False):
    """Of the weight layers and embedding tables the one with the largest update-to-weight ratio."""

    name: str
    ratio: float  # its 95th percentile over the steps
    steps: Integers  # [recorded steps] global
    ratios: Floats  # [recorded steps] the largest one of any tensor; -inf where none is known


def fastest_tensor(training: Training) -> FastestTensor | None:
    """The fastest tensor of the whole run; None where no finite update of a trained one was recorded."""
    chosen = judged_tensors(training)
    ratios = update_ratio(training)[:, chosen]
    high = quantile(ratios, _PERCENTILE, step_weights(training))
    if not numpy.isfinite(high).any():
        return None
    tensors = [tensor for tensor, take in zip(training.tensors, chosen, strict=True) if take]
    return FastestTensor(
        name=tensors[int(numpy.nanargmax(high))].name,
        ratio=float(numpy.nanmax(high)),
        steps=training.recorded_global_steps,
        ratios=numpy.where(numpy.isfinite(ratios), ratios, -numpy.inf).max(axis=1, initial=-numpy.inf),
    )
