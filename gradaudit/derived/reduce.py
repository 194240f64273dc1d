"""Long series made short enough to draw, without losing a one-step spike."""

from itertools import pairwise
from typing import Any

import numpy

from gradaudit.findings import Series

Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]

WIDEST = 240  # buckets in a line chart: more than one a pixel and a half adds bytes, not information


def smooth(values: Floats, window: int = 41) -> Floats:
    """Centred running median, then mean, of `values`; gaps (NaN, Inf) stay gaps.

    Centred, since a causal average lags and puts the training loss above the validation loss.
    """
    import pandas

    finite = pandas.Series(numpy.where(numpy.isfinite(values), values, numpy.nan))
    window = max(1, min(window, len(finite) // 8))
    median = finite.rolling(min(9, window), center=True, min_periods=1).median()
    mean = median.rolling(window, center=True, min_periods=1).mean().to_numpy(copy=True)
    mean[~numpy.isfinite(values)] = numpy.nan
    return numpy.asarray(mean, dtype=numpy.float64)


def short(value: float, digits: int = 4) -> float | None:
    """`value` to a few significant digits; None for NaN and infinities, which JSON and charts cannot hold."""
    return float(f"{value:.{digits}g}") if numpy.isfinite(value) else None


def banded(name: str, x: Any, y: Any, role: str = "main", buckets: int = WIDEST) -> Series:
    """A `Series` of at most `buckets` points: the smoothed line, and the least and greatest value of each bucket."""
    x, y = numpy.asarray(x, dtype=numpy.float64), numpy.asarray(y, dtype=numpy.float64)
    line = smooth(y)
    edges = numpy.unique(numpy.linspace(0, len(x), min(buckets, len(x)) + 1).astype(int))
    points: list[tuple[float, float | None, float | None, float | None]] = []
    for first, last in pairwise(edges):
        part = y[first:last]
        finite = part[numpy.isfinite(part)]
        middle = line[(first + last - 1) // 2]
        if not len(finite):
            points.append((float(x[first]), None, None, None))
        else:
            points.append(
                (float(x[first]), short(float(middle)), short(float(finite.min())), short(float(finite.max())))
            )
    return Series(
        name=name,
        x=[p[0] for p in points],
        y=[p[1] for p in points],
        low=[p[2] for p in points],
        high=[p[3] for p in points],
        role=role,
    )


def plain(name: str, x: Any, y: Any, role: str = "main", buckets: int = WIDEST) -> Series:
    """A `Series` of at most `buckets` points without a band: of each bucket the value farthest from the median."""
    x, y = numpy.asarray(x, dtype=numpy.float64), numpy.asarray(y, dtype=numpy.float64)
    if len(x) > buckets:
        edges = numpy.linspace(0, len(x), buckets + 1).astype(int)
        keep = []
        for first, last in pairwise(edges):
            part = y[first:last]
            away = numpy.abs(part - numpy.nanmedian(part)) if numpy.isfinite(part).any() else numpy.zeros(len(part))
            keep.append(first + int(numpy.nanargmax(numpy.where(numpy.isfinite(away), away, -1))))
        x, y = x[keep], y[keep]
    return Series(name=name, x=[float(v) for v in x], y=[short(float(v)) for v in y], role=role)
