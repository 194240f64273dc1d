"""What is special about the batch of a step at which the loss is not finite."""

from typing import Literal

import msgspec

from gradaudit.signals.order_statistics import median
from gradaudit.training import Training

_SMALL = 0.25  # of the usual batch: worth telling

Odd = Literal["one example", "no example", "all ignored", "small", ""]


class Batch(msgspec.Struct, frozen=True):
    """The batch of one step beside the usual one."""

    odd: Odd = ""  # empty where nothing is special, or known
    size: int = 0  # examples
    usual: int = 0  # examples, median over the run


def batch_at(training: Training, step: int) -> Batch:
    """The batch of this global step."""
    frame = training.steps
    row = frame[frame["global_step"] == step]
    sizes = frame["batch_size"].to_numpy(dtype=float)
    if not len(row) or not (sizes > 0).any():
        return Batch()
    size, targets, ignored = (int(row[name].iloc[0]) for name in ("batch_size", "targets", "ignored_targets"))
    usual = round(median(sizes[sizes > 0]))
    if not targets and ignored:
        return Batch("all ignored", size, usual)
    if not targets and not size and int(row["loss"].iloc[0]) >= 0:
        return Batch("no example", size, usual)
    # One call of the loss on one example: with more calls the sum of their batches is no batch.
    if size == 1 < usual:
        return Batch("one example", size, usual)
    before = sizes[(frame["global_step"].to_numpy() < step) & (sizes > 0)]
    if 0 < size <= _SMALL * usual and len(before) and size < before.min():
        return Batch("small", size, usual)
    return Batch("", size, usual)
