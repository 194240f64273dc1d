"""Medians and quantiles that ignore what is not finite, and that weigh unevenly recorded steps."""

from typing import Any

import numpy

Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]
Integers = numpy.ndarray[Any, numpy.dtype[numpy.int64]]
Flags = numpy.ndarray[Any, numpy.dtype[numpy.bool_]]
Mask = numpy.ndarray[Any, numpy.dtype[numpy.bool_]]

_AT_ONCE = 100_000  # values sorted at a time


def quantile(values: Floats, share: float, weights: Floats | None = None) -> Floats:
    """[columns]: the weighted `share` quantile of each column of [rows, columns] over its finite values.

    The smallest value at which the cumulative weight reaches `share` of the column's weight;
    at exactly that point it is averaged with the next, so that 0.5 is the usual median.
    NaN for a column without a finite value. Unlike numpy.nanquantile it never warns.
    """
    rows, columns = values.shape
    if not rows:
        return numpy.full(columns, numpy.nan)
    # Few columns at a time: sorting takes several times the memory of what is sorted.
    width = max(1, _AT_ONCE // rows)
    parts = [_quantile(values[:, first : first + width], share, weights) for first in range(0, columns, width)]
    return numpy.concatenate(parts) if parts else numpy.zeros(0)


def _quantile(values: Floats, share: float, weights: Floats | None) -> Floats:
    rows, columns = values.shape
    finite = numpy.isfinite(values)
    if weights is None and share == 0.5 and finite.all():
        return numpy.asarray(numpy.median(values, axis=0), dtype=numpy.float64)
    filled = numpy.where(finite, values, numpy.inf)
    order = numpy.argsort(filled, axis=0, kind="stable")
    ranked = numpy.take_along_axis(filled, order, axis=0)
    weight = numpy.ones(rows) if weights is None else weights
    mass = numpy.take_along_axis(numpy.where(finite, weight[:, None], 0.0), order, axis=0)
    cumulative = numpy.cumsum(mass, axis=0)
    total = cumulative[-1]
    wanted = share * total
    first = numpy.argmax(cumulative >= wanted * (1 - 1e-12), axis=0)
    column = numpy.arange(columns)
    low = ranked[first, column]
    exact = numpy.abs(cumulative[first, column] - wanted) <= 1e-12 * total
    high = ranked[numpy.minimum(first + 1, rows - 1), column]
    with numpy.errstate(invalid="ignore"):
        result = numpy.where(exact & numpy.isfinite(high), (low + high) / 2, low)
    return numpy.where(total > 0, result, numpy.nan)


def median(values: Floats, weights: Floats | None = None) -> float:
    """The weighted median of the finite entries of a vector; NaN when there is none."""
    return float(quantile(numpy.asarray(values, dtype=numpy.float64).reshape(-1, 1), 0.5, weights)[0])


def medians(values: Floats, weights: Floats | None = None) -> Floats:
    """[columns]: the weighted median of each column of [rows, columns]."""
    return quantile(values, 0.5, weights)


def medians_across(values: Floats) -> Floats:
    """[rows]: the median of each row of [rows, columns]."""
    return quantile(values.T, 0.5)


def medians_of_others(values: Floats, among: Mask) -> Floats:
    """[values]: the median of the finite values `among` which it is looked for, without the value itself."""
    counted = among & numpy.isfinite(values)
    ranked = numpy.sort(values[counted])
    found = numpy.full(len(values), median(ranked))
    left = len(ranked) - 1
    if left < 1:
        found[counted] = numpy.nan
        return found
    # What stands behind the value that is taken out moves up by one.
    own = numpy.searchsorted(ranked, values[counted])
    low, high = (ranked[middle + (middle >= own)] for middle in ((left - 1) // 2, left // 2))
    found[counted] = (low + high) / 2
    return found


def largest(values: Floats) -> float:
    """The greatest finite entry; NaN when there is none."""
    finite = values[numpy.isfinite(values)]
    return float(finite.max()) if finite.size else float("nan")


def running_median(values: Floats, window: int = 5) -> Floats:
    """[rows]: median of the finite values among this one and the `window` - 1 before it; NaN where none is."""
    import pandas

    finite = pandas.Series(numpy.where(numpy.isfinite(values), values, numpy.nan))
    return numpy.asarray(finite.rolling(window, min_periods=1).median(), dtype=numpy.float64)


def rank_correlation(values: Floats) -> float:
    """Spearman's correlation of finite `values` with their order; NaN for fewer than three or when all are equal."""
    known = values[numpy.isfinite(values)]
    if len(known) < 3:
        return float("nan")
    _, place, counts = numpy.unique(known, return_inverse=True, return_counts=True)
    ranks = (numpy.cumsum(counts) - (counts - 1) / 2)[place]  # ties share their mean rank
    order = numpy.arange(1.0, len(known) + 1)
    ranks, order = ranks - ranks.mean(), order - order.mean()
    size = float(numpy.sqrt((ranks**2).sum() * (order**2).sum()))
    return float((ranks * order).sum() / size) if size else float("nan")
