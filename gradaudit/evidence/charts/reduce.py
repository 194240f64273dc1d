"""Long series and long lists of names made short enough to draw, without losing a one-step spike."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy

from gradaudit.chart_data import Series
from gradaudit.signals.smoothing import NEAR, Floats, smooth, wide

Block = tuple[tuple[str, ...], tuple[str, ...], int]  # first path, last path, how many names
Flags = numpy.ndarray[Any, numpy.dtype[numpy.bool_]]

FAR = 3.0  # times the usual distance of two points, from which on nothing is known to lie between them
WIDEST = 240  # buckets in a line chart: more than one a pixel and a half adds bytes, not information


def short(value: float, digits: int = 4) -> float | None:
    """`value` to a few significant digits; None for NaN and infinities, which JSON and charts cannot hold."""
    return float(f"{value:.{digits}g}") if numpy.isfinite(value) else None


def _digits(values: Floats) -> int:
    """How many significant digits show a thousandth of the range of `values`: more where they differ by little."""
    finite = numpy.abs(values[numpy.isfinite(values)])
    apart = float(numpy.ptp(values[numpy.isfinite(values)])) if len(finite) else 0.0
    # Between the greatest numbers of both signs the distance is infinite.
    return 4 + max(0, min(5, math.floor(math.log10(finite.max() / apart)))) if 0 < apart < math.inf else 4


def banded(name: str, x: Any, y: Any, buckets: int = WIDEST, *, log: bool | None = None, bad: Any = None) -> Series:
    """A `Series` of at most `buckets` points: the smoothed line, and the least and greatest value of each bucket.

    The last point is the last value, with the band of its bucket, so that the line reaches the end of the run.
    `bad`, a mask, tells where the value was NaN or infinite and not just unknown.
    """
    x, y = numpy.asarray(x, dtype=numpy.float64), numpy.asarray(y, dtype=numpy.float64)
    line, digits = _smooth_at(x, y, log), _digits(y)
    whole = len(x) <= buckets
    edges = numpy.unique(numpy.linspace(0, len(x), (len(x) if whole else buckets - 1) + 1).astype(int))
    low, high, shown = [], [], []
    for first, last in pairwise(edges):
        part = y[first:last]
        finite = part[numpy.isfinite(part)]
        low.append(short(float(finite.min()), digits) if len(finite) else None)
        high.append(short(float(finite.max()), digits) if len(finite) else None)
        shown.append(_level(line[first], finite, digits))
    at = edges[:-1].tolist()
    if not whole:
        finite = y[at[-1] :]
        shown.append(_level(line[-1], finite[numpy.isfinite(finite)], digits))
        at, low, high = [*at, len(x) - 1], [*low, low[-1]], [*high, high[-1]]
    return Series(name=name, x=[float(x[i]) for i in at], y=shown, low=low, high=high, bad=spans(x, bad, edges))


def _smooth_at(x: Floats, y: Floats, log: bool | None) -> Floats:
    """`smooth`, but for points far from their neighbours: nothing is averaged over what was not recorded."""
    line = y.copy()
    near = ~alone(x)
    line[near] = smooth(y[near], log=wide(y) if log is None else log)
    return line


def alone(x: Floats) -> Flags:
    """Which points are farther from both neighbours than `FAR` times the usual distance."""
    if len(x) < 3:
        return numpy.zeros(len(x), dtype=bool)
    apart = numpy.diff(x)
    far = apart > FAR * numpy.median(apart)
    return numpy.asarray(numpy.concatenate([[True], far]) & numpy.concatenate([far, [True]]), dtype=bool)


def _level(line: float, band: Floats, digits: int) -> float | None:
    """The smoothed line at the start of a bucket; within the band of the bucket where that tells how values scatter."""
    if not len(band):
        return None
    return short(float(numpy.clip(line, band.min(), band.max()) if len(band) >= NEAR else line), digits)


def spans(x: Floats, bad: Any, edges: Any = None) -> list[tuple[float, float]]:
    """The first and the last x of each stretch of `bad` values; those of neighbouring buckets are one stretch."""
    if bad is None or not numpy.any(bad):
        return []
    where = numpy.flatnonzero(bad)
    bucket = where if edges is None else numpy.searchsorted(edges, where, side="right")
    starts = numpy.flatnonzero(numpy.diff(bucket, prepend=bucket[0] - 2) > 1)
    ends = [*(starts[1:] - 1), len(where) - 1]
    return [(float(x[where[first]]), float(x[where[last]])) for first, last in zip(starts, ends, strict=True)]


def halved(series: Series) -> Series:
    """`series` with every two neighbours joined: the value of the first, the band of both.

    The last point stays, and so do those far from others.
    """
    single = numpy.flatnonzero(alone(numpy.asarray(series.x, dtype=numpy.float64))).tolist()
    keep = sorted({*range(0, len(series.x) - 1, 2), *single, len(series.x) - 1})
    ends = [*keep[1:], len(series.x)]

    def joined(values: list[float | None], choose: Callable[[list[float]], float]) -> list[float | None]:
        parts = [[v for v in values[a:b] if v is not None] for a, b in zip(keep, ends, strict=True)]
        return [choose(part) if part else None for part in parts] if values else []

    return Series(
        name=series.name,
        x=[series.x[i] for i in keep],
        y=[series.y[i] for i in keep],
        low=joined(series.low, min),
        high=joined(series.high, max),
        role=series.role,
        bad=series.bad,
    )


def plain(name: str, x: Any, y: Any, role: str = "main", buckets: int = WIDEST, *, bad: Any = None) -> Series:
    """A `Series` of at most `buckets` points without a band: of each bucket the value farthest from the median.

    The first and the last point are the first and the last value.
    """
    x, y = numpy.asarray(x, dtype=numpy.float64), numpy.asarray(y, dtype=numpy.float64)
    edges = None
    marked = x
    if len(x) > buckets:
        edges = numpy.linspace(0, len(x), buckets - 1).astype(int)
        keep = [0, len(x) - 1]
        for first, last in pairwise(edges):
            part = y[first:last]
            known = part[~numpy.isnan(part)]
            away = numpy.abs(part - numpy.median(known)) if numpy.isfinite(known).any() else numpy.zeros(len(part))
            keep.append(first + int(numpy.argmax(numpy.where(numpy.isfinite(away), away, -1))))
        keep = sorted(set(keep))
        x, y = x[keep], y[keep]
    digits = _digits(y)
    values = [short(float(v), digits) for v in y]
    return Series(name=name, x=[float(v) for v in x], y=values, role=role, bad=spans(marked, bad, edges))


def blocks(names: Sequence[str], most: int = 18) -> list[str]:
    """A label for each name: that of its block, consecutive names under one module path; at most `most` blocks.

    The deepest path that gives few enough blocks is taken. Where one level less would leave only a
    handful, neighbours of the finer level are joined instead, so that thirty-two layers read "h.0–1",
    "h.2–3" and not "h".
    """
    if not names:
        return []
    paths = [tuple(name.split(".")[:-1]) or (name,) for name in names]
    finer: list[Block] = []
    runs: list[Block] = []
    for depth in range(min(4, max(map(len, paths))), 0, -1):
        runs = [(path, path, len(list(group))) for path, group in groupby(path[:depth] for path in paths)]
        if len(runs) <= most:
            break
        finer = runs
    if finer and (len(runs) < most // 3 or len(runs) > most):
        runs = _join(finer, most)
    labels = [_block_label(first, last) for first, last, _ in runs]
    short = _without_root(labels)
    return [label for label, (_, _, count) in zip(short, runs, strict=True) for _ in range(count)]


def _join(runs: list[Block], most: int) -> list[Block]:
    """Join neighbours, as few as will do, those under one parent first."""
    size = max(2, -(-len(runs) // most))
    while size <= len(runs):
        joined: list[Block] = []
        members = 0
        for first, last, count in runs:
            if joined and members < size and joined[-1][1][:-1] == last[:-1]:
                joined[-1] = (joined[-1][0], last, joined[-1][2] + count)
                members += 1
            else:
                joined.append((first, last, count))
                members = 1
        if len(joined) <= most:
            return joined
        size += max(1, size // 4)
    edges = numpy.linspace(0, len(runs), most + 1).astype(int)
    return [(runs[a][0], runs[b - 1][1], sum(run[2] for run in runs[a:b])) for a, b in pairwise(edges)]


def _block_label(first: tuple[str, ...], last: tuple[str, ...]) -> str:
    label = ".".join(first)
    if first == last:
        return label
    return f"{label}–{last[-1] if first[:-1] == last[:-1] else '.'.join(last)}"


def _without_root(labels: list[str]) -> list[str]:
    """Drop the leading component that most labels share ("transformer."), while what is left tells them apart."""
    roots = [label.partition(".")[0] for label in labels]
    root = max(set(roots), key=roots.count)
    if roots.count(root) * 2 <= len(roots) or len(labels) < 3:
        return labels
    short = [label.removeprefix(f"{root}.") for label in labels]
    if any(label[:1].isdigit() for label in short) or len(set(short)) < len(set(labels)):
        return labels
    return short
