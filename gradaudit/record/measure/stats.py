"""Gradients to numbers: norm, mean, standard deviation, extremes, exact zeros, NaN and Inf of each tensor.

Gradients on the CPU: every one is read once from memory, in blocks. Those of a device are measured by
`device.DeviceStatistics` and `on_device.measure_on_device`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy
import torch

from gradaudit.record.measure.sharding import local

Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]

# Order of the columns that `measure` returns; names are those of the `tensors` table.
COLUMNS = (
    "has_grad",
    "gradient_norm",
    "gradient_mean",
    "gradient_std",
    "gradient_max_abs",
    "gradient_zero_fraction",
    "gradient_nan",
    "gradient_inf",
)
ZERO_FRACTION = COLUMNS.index("gradient_zero_fraction")
_HAS, _NORM, _MEAN, _STD, _MAX, _ZERO, _NAN, _INF = range(len(COLUMNS))

# Up to here tensors are gathered: one call for all of them beats eight calls for each, which find
# their code out of the cache after a training step.
_SMALL = 32768
_BLOCK = 131072  # elements read once from memory and then several times from the cache
# Zeros are looked for at every 61st element of a block, and counted where one is found. Any 61
# neighbours hold one that is looked at, and a prime finds the zeros of a column as well as of a row.
_LOOK = 61
# Squares of float32 lose digits below 1e-19 and overflow above 1e19; between these all is exact enough.
_LEAST, _GREATEST = 1e-15, 1e15
# Above this ratio of mean squared to variance, E[x^2] - E[x]^2 cancels too many digits of a sum in float32.
_CANCELS = 100.0
_CLEAN = (1, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0)
_NARROW = (torch.bfloat16, torch.float16)  # numpy lacks the first and computes slowly in the second


def measure(gradients: Sequence[torch.Tensor | None]) -> Floats:
    """[tensors, COLUMNS] of the gradients, float64; a missing gradient has has_grad 0 and NaN elsewhere.

    Moments are those of the finite elements. Sparse gradients count their absent rows as zeros;
    complex ones are seen as pairs of reals.
    """
    out = numpy.full((len(gradients), len(COLUMNS)), numpy.nan)
    out[:, _HAS] = 0
    small: list[tuple[int, torch.Tensor, int]] = []
    gathered = 0
    with numpy.errstate(all="ignore"):
        for index, gradient in enumerate(gradients):
            if gradient is None:
                continue
            flat, absent = _flatten(gradient)
            if not 0 < flat.numel() <= _SMALL:
                out[index] = _measure_one(flat, absent)
                continue
            if gathered + flat.numel() > _BLOCK:
                _measure_together(small, out)
                small, gathered = [], 0
            small.append((index, flat, absent))
            gathered += flat.numel()
        if small:
            _measure_together(small, out)
    return out


def _flatten(gradient: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The stored elements as one dimension, and how many zeros are not stored."""
    if gradient.layout is torch.strided and type(gradient) is torch.Tensor and not gradient.is_complex():
        gradient = gradient.detach() if gradient.requires_grad else gradient
        return gradient.view(-1) if gradient.is_contiguous() else gradient.reshape(-1), 0
    # A DTensor's norm would be a collective; the shard is merged with the others offline.
    gradient = local(gradient.detach())
    absent = 0
    if gradient.layout != torch.strided:
        # Uncoalesced values hold a row twice and give a wrong norm.
        values = gradient.coalesce().values()
        absent = gradient.numel() - values.numel()
        gradient = values
    if gradient.is_complex():
        gradient = torch.view_as_real(gradient)
    return gradient.reshape(-1), absent


def _measure_together(small: list[tuple[int, torch.Tensor, int]], out: Floats) -> None:
    indices, flats, absents = zip(*small, strict=True)
    stored = torch.cat(flats)
    values = (stored.float() if stored.dtype in _NARROW else stored).numpy()
    counts = numpy.array([flat.numel() for flat in flats])
    starts = numpy.cumsum(counts) - counts
    totals = counts + numpy.array(absents)
    top = numpy.maximum(numpy.maximum.reduceat(values, starts), -numpy.minimum.reduceat(values, starts))
    mean = numpy.add.reduceat(values, starts).astype(numpy.float64) / totals
    zero = values == 0
    zeros = numpy.add.reduceat(zero, starts, dtype=numpy.int64) if zero.any() else 0
    squares = numpy.add.reduceat(numpy.multiply(values, values, out=values), starts).astype(numpy.float64)
    # Rounded, that of a single element may come out below zero.
    variance = numpy.where(totals == 1, 0.0, squares / totals - mean * mean)
    rows = numpy.empty((len(small), len(COLUMNS)))
    rows[:] = _CLEAN
    rows[:, _NORM], rows[:, _MEAN], rows[:, _MAX] = numpy.sqrt(squares), mean, top
    rows[:, _STD], rows[:, _ZERO] = numpy.sqrt(variance), (zeros + (totals - counts)) / totals
    level = (mean * mean <= _CANCELS * variance) | (totals == 1)
    safe = ((top > _LEAST) & (top < _GREATEST) & level) | (top == 0)
    if not safe.all():
        for place in numpy.flatnonzero(~safe):
            rows[place] = _rescan(flats[place], absents[place])
    out[list(indices)] = rows


def _measure_one(flat: torch.Tensor, absent: int) -> Any:
    total = flat.numel() + absent
    if flat.numel() == 0:
        return (1, 0.0, 0.0, 0.0, 0.0, 1.0 if total else numpy.nan, 0, 0)
    squares = sums = 0.0
    least, greatest, zeros = math.inf, -math.inf, absent
    for block in torch.split(flat, _BLOCK):
        if block.dtype in _NARROW:
            block = block.float()
        squares += torch.dot(block, block).item()
        sums += block.sum().item()
        array = block.numpy()
        # numpy's minimum and maximum of a block in the cache are twice as fast as torch.aminmax.
        least, greatest = min(least, numpy.minimum.reduce(array)), max(greatest, numpy.maximum.reduce(array))
        if not array[::_LOOK].all():
            # Comparing first is five times faster than torch.count_nonzero or numpy's of floats.
            zeros += int(numpy.count_nonzero(array == 0))
    mean = sums / total
    variance = squares / total - mean * mean
    top = float(max(-least, greatest))
    safe = math.isfinite(squares) and (top == 0 or _LEAST < top < _GREATEST)
    if not safe or mean * mean > _CANCELS * variance:
        return _rescan(flat, absent)
    return (1, math.sqrt(squares), mean, math.sqrt(max(variance, 0.0)), top, zeros / total, 0, 0)


def _rescan(flat: torch.Tensor, absent: int) -> Any:
    """The same in float64 with masks, scaled squares and two passes: for the few tensors that need it."""
    nan = inf = zeros = count = 0
    sums, top = 0.0, 0.0
    blocks = torch.split(flat, 8 * _BLOCK)
    for block in blocks:
        values = block.double().numpy()
        finite = values[numpy.isfinite(values)]
        bad = int(numpy.isnan(values).sum())
        nan, inf = nan + bad, inf + len(values) - len(finite) - bad
        zeros, count = zeros + int((finite == 0).sum()), count + len(finite)
        top = max(top, float(numpy.abs(finite).max(initial=0.0)))
        sums += float((finite / 2**64).sum()) * 2**64 if top > 1e290 else float(finite.sum())
    total = count + absent
    if not total:
        return (1, numpy.nan, numpy.nan, numpy.nan, numpy.nan, 0.0, nan, inf)
    mean, scale = sums / total, top or 1.0
    squares, spread = 0.0, absent * (mean / scale) ** 2
    for block in blocks:
        values = block.double().numpy()
        finite = values[numpy.isfinite(values)] / scale
        squares += float((finite * finite).sum())
        spread += float(((finite - mean / scale) ** 2).sum())
    everything = total + nan + inf
    return (
        1,
        scale * squares**0.5,
        mean,
        scale * (spread / total) ** 0.5,
        top,
        (zeros + absent) / everything,
        nan,
        inf,
    )
