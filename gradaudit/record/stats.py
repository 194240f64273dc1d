"""Gradients to numbers: norm, mean, standard deviation, extremes, exact zeros, NaN and Inf of each tensor.

Gradients on the CPU: every one is read once from memory, in blocks. Those of a device are measured by
`device.DeviceStatistics` and `on_device.measure_on_device`.
"""

from collections.abc import Sequence
from typing import Any

import numpy
import torch

from gradaudit.record.sharding import local

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

_SMALL = 8192  # up to here tensors are gathered: one call for all beats eight calls for each
_BLOCK = 131072  # elements read once from memory and then several times from the cache
# Squares of float32 lose digits below 1e-19 and overflow above 1e19; between these all is exact enough.
_LEAST, _GREATEST = 1e-15, 1e15
# Above this ratio of mean squared to variance, E[x^2] - E[x]^2 cancels too many digits.
_CANCELS = 1e3


def measure(gradients: Sequence[torch.Tensor | None]) -> Floats:
    """[tensors, COLUMNS] of the gradients, float64; a missing gradient has has_grad 0 and NaN elsewhere.

    Moments are those of the finite elements. Sparse gradients count their absent rows as zeros;
    complex ones are seen as pairs of reals.
    """
    out = numpy.full((len(gradients), len(COLUMNS)), numpy.nan)
    out[:, _HAS] = 0
    small: list[tuple[int, torch.Tensor, int]] = []
    for index, gradient in enumerate(gradients):
        if gradient is None:
            continue
        flat, absent = _flatten(gradient)
        if 0 < flat.numel() <= _SMALL:
            small.append((index, flat, absent))
        else:
            out[index] = _measure_large(flat, absent)
    if small:
        _measure_small(small, out)
    return out


def _flatten(gradient: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The stored elements as one dimension, and how many zeros are not stored."""
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


def _measure_small(small: list[tuple[int, torch.Tensor, int]], out: Floats) -> None:
    values = torch.cat([flat.double() for _, flat, _ in small]).numpy()
    counts = numpy.array([flat.numel() for _, flat, _ in small])
    starts = numpy.concatenate(([0], numpy.cumsum(counts)[:-1]))
    with numpy.errstate(all="ignore"):
        squares = numpy.add.reduceat(values * values, starts)
        sums = numpy.add.reduceat(values, starts)
        greatest = numpy.maximum.reduceat(numpy.abs(values), starts)
        zeros = numpy.add.reduceat((values == 0).astype(numpy.int64), starts)
        totals = counts + numpy.array([absent for _, _, absent in small])
        mean = sums / totals
        variance = squares / totals - mean * mean
        doubtful = ~numpy.isfinite(squares) | (mean * mean > _CANCELS * variance)
        doubtful |= (squares == 0) & (greatest > 0)
    for place, (index, flat, absent) in enumerate(small):
        if doubtful[place]:
            out[index] = _rescan(flat, absent)
        else:
            zero = (zeros[place] + absent) / totals[place]
            deviation = max(variance[place], 0.0) ** 0.5
            out[index] = (1, squares[place] ** 0.5, mean[place], deviation, greatest[place], zero, 0, 0)


def _measure_large(flat: torch.Tensor, absent: int) -> Any:
    total = flat.numel() + absent
    if flat.numel() == 0:
        return (1, 0.0, 0.0, 0.0, 0.0, 1.0 if total else numpy.nan, 0, 0)
    squares = sums = 0.0
    least, greatest, present = numpy.inf, -numpy.inf, 0
    with numpy.errstate(all="ignore"):
        for block in torch.split(flat, _BLOCK):
            if block.dtype in (torch.float16, torch.bfloat16):
                block = block.float()
            squares += float(torch.dot(block, block))
            sums += float(block.sum())
            array = block.numpy()
            # numpy's minimum and maximum of a block in the cache are twice as fast as torch.aminmax.
            least, greatest = min(least, array.min()), max(greatest, array.max())
            # Comparing first is five times faster than torch.count_nonzero or numpy's of floats.
            present += int(numpy.count_nonzero(array != 0))
        mean = sums / total
        variance = squares / total - mean * mean
        top = max(-least, greatest)
    safe = numpy.isfinite(squares) and numpy.isfinite(top) and (top == 0 or _LEAST < top < _GREATEST)
    if not safe or mean * mean > _CANCELS * variance:
        return _rescan(flat, absent)
    return (1, squares**0.5, mean, max(variance, 0.0) ** 0.5, float(top), 1 - present / total, 0, 0)


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
