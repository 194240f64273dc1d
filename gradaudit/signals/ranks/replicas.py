"""Copies of one model on several ranks, side by side: their weights, gradients and losses at the same steps."""

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.signals.order_statistics import Floats, Integers, Mask
from gradaudit.training import signal


class SideBySide(msgspec.Struct, frozen=True, eq=False):
    """One quantity of every rank at the steps at which at least two ranks have it."""

    ranks: Integers  # [ranks]
    steps: Integers  # [steps] global steps
    values: Floats  # [steps, ranks]; NaN where a rank has none


class Checksums(msgspec.Struct, frozen=True, eq=False):
    """The weights of every rank, compared bit for bit."""

    ranks: Integers  # [ranks]
    steps: Integers  # [steps] global steps at which at least two ranks summed their weights
    sums: Integers  # [steps, ranks]; 0 where a rank took none
    differ: Mask  # [steps]: some rank's weights are not those of the others


@signal
def checksums(run: Run) -> Checksums:
    """The checksums of the weights by step and rank; no steps where fewer than two ranks took them."""
    frame = run.replicas
    frame = frame[frame["weight_checksum"] != 0]
    ranks, steps = numpy.unique(run.replicas["rank"]), numpy.unique(frame["global_step"])
    sums = numpy.zeros((len(steps), len(ranks)), dtype=numpy.int64)
    sums[numpy.searchsorted(steps, frame["global_step"]), numpy.searchsorted(ranks, frame["rank"])] = frame[
        "weight_checksum"
    ]
    kept = (sums != 0).sum(axis=1) > 1
    steps, sums = steps[kept], sums[kept]
    first = sums[numpy.arange(len(sums)), numpy.argmax(sums != 0, axis=1)] if len(sums) else sums[:, 0:0].sum(axis=1)
    differ = ((sums != 0) & (sums != first[:, None])).any(axis=1)
    return Checksums(ranks=ranks, steps=steps, sums=sums, differ=differ)


@signal
def side_by_side(run: Run, name: str) -> SideBySide:
    """A column of `Run.replicas` by step and rank."""
    frame = run.replicas
    frame = frame[numpy.isfinite(frame[name].to_numpy(dtype=float))]
    ranks, steps = numpy.unique(run.replicas["rank"]), numpy.unique(frame["global_step"])
    values = numpy.full((len(steps), len(ranks)), numpy.nan)
    values[numpy.searchsorted(steps, frame["global_step"]), numpy.searchsorted(ranks, frame["rank"])] = frame[name]
    kept = numpy.isfinite(values).sum(axis=1) > 1
    return SideBySide(ranks=ranks, steps=steps[kept], values=values[kept])


def spread(values: Floats) -> Floats:
    """[steps]: the difference between the greatest and the least rank, over the greatest size; 0 where all are 0."""
    high, low = numpy.nanmax(values, axis=1), numpy.nanmin(values, axis=1)
    size = numpy.nanmax(numpy.abs(values), axis=1)
    return numpy.where(size > 0, (high - low) / numpy.where(size > 0, size, 1), 0.0)


def against_others(values: Floats) -> Floats:
    """[steps, ranks]: each rank's value less the mean of the other ranks; what all ranks share drops out."""
    known = numpy.isfinite(values)
    whole = numpy.where(known, values, 0.0).sum(axis=1, keepdims=True)
    others = known.sum(axis=1, keepdims=True) - 1
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.where(others > 0, values - (whole - values) / others, numpy.nan)
