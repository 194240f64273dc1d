"""The numbers behind each chart, as a small table for those who cannot or do not want to see the picture."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import assert_never

from gradaudit.findings import AnyEvidence, Distribution, Dots, Heatmap, Lines, Numbers, Ridge, Ridges, Series
from gradaudit.report.model import TableView
from gradaudit.report.text import name, quantity

SLICES, MOST_ROWS, MOST_COLUMNS = 12, 40, 8
CELL = 120  # characters


def numbers(evidence: AnyEvidence) -> TableView:
    """The table of any evidence, at most `MOST_ROWS` rows."""
    match evidence:
        case Lines():
            return _lines(evidence)
        case Dots():
            return _dots(evidence)
        case Heatmap():
            return heatmaps([evidence])
        case Distribution():
            bins = [(name(entry.label), quantity(float(entry.count))) for entry in evidence.bins]
            return _table((evidence.x_label, evidence.y_label), bins)
        case Ridges():
            remarked = any(one.remark for one in evidence.ridges)
            head = ("block", "1 % are below", "half are below", "99 % are below", *(("remark",) if remarked else ()))
            rows = [(name(one.label), *_quantiles(evidence, one), one.remark) for one in evidence.ridges]
            return _table(head, rows)
        case Numbers():
            cells = [tuple(row[:MOST_COLUMNS]) for row in evidence.cells]
            return _table(tuple(evidence.columns[:MOST_COLUMNS]), cells)
        case _:
            assert_never(evidence)


def _quantiles(evidence: Ridges, ridge: Ridge) -> list[str]:
    """The values below which 1, 50 and 99 % of a distribution lie, to the width of its bins."""
    found = []
    for share in (0.01, 0.5, 0.99):
        passed, place = 0.0, 0
        while place < len(ridge.shares) - 1 and passed + ridge.shares[place] < share * sum(ridge.shares):
            passed += ridge.shares[place]
            place += 1
        found.append(quantity(2.0 ** (evidence.first + (place + 0.5) * evidence.width)))
    return found


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> TableView:
    width = len(head)
    shown = tuple(
        tuple(name(cell, CELL) for cell in (*row, *("" for _ in range(width)))[:width]) for row in rows[:MOST_ROWS]
    )
    return TableView(tuple(map(name, head)), shown, max(0, len(rows) - MOST_ROWS))


def _lines(evidence: Lines) -> TableView:
    """Each series over a dozen slices of x: its last value there, and the band's least and greatest."""
    series = evidence.series[:4]
    points = sorted({x for one in series for x in one.x})
    label = evidence.x_label or "x"
    if not points:
        return TableView((label,), ())
    edges = points if len(points) <= SLICES else [points[i * len(points) // SLICES] for i in range(SLICES)]
    bounds = list(zip(edges, [*edges[1:], math.inf], strict=True))
    head = [label]
    for one in series:
        banded = [f"{one.name}, least", f"{one.name}, greatest"] if _banded(one) else []
        head += [*([one.name] if _lined(one) else []), *banded]
    rows = []
    for low, high in bounds:
        row = [f"{low:,.6g}" if len(edges) == len(points) else f"from {low:,.6g}"]
        for one in series:
            row += _slice(one, low, high)
        rows.append(tuple(row))
    return _table(tuple(head), rows)


def _lined(series: Series) -> bool:
    """Whether a series is more than a band."""
    return not _banded(series) or bool(series.bad) or any(value is not None for value in series.y)


def _banded(series: Series) -> bool:
    """Whether its band tells more than its line: the area between a line and zero does not."""
    ends = zip(series.y, series.low, series.high, strict=False)
    return bool(series.high) and any({low, high} - {0.0, None} - {value} for value, low, high in ends)


def _slice(series: Series, low: float, high: float) -> list[str]:
    inside = [i for i, x in enumerate(series.x) if low <= x < high]
    values = [series.y[i] for i in inside if series.y[i] is not None]
    bad = any(first < high and low <= last for first, last in series.bad)
    cells = [quantity(values[-1] if values else None, "NaN or Inf" if bad else "–")] if _lined(series) else []
    if _banded(series):
        least = [v for i in inside if i < len(series.low) and (v := series.low[i]) is not None]
        greatest = [v for i in inside if i < len(series.high) and (v := series.high[i]) is not None]
        cells += [quantity(min(least, default=None)), quantity(max(greatest, default=None))]
    return cells


def _dots(evidence: Dots) -> TableView:
    order = sorted(evidence.dots, key=lambda dot: not dot.flagged)
    rows = [(name(dot.label), dot.group, quantity(dot.value)) for dot in order]
    return _table(("tensor", "kind", evidence.x_label), rows)


def heatmaps(panels: Sequence[Heatmap]) -> TableView:
    """For each block: the median cell at the start, in the middle and at the end, and how many cells are special."""
    rows = []
    for heatmap in panels:
        columns = max(map(len, heatmap.values), default=0)
        thirds = [range(0, max(1, columns // 10)), range(columns * 9 // 20, max(columns * 11 // 20, 1))]
        thirds.append(range(columns - max(1, columns // 10), columns))
        start = 0
        for label, members in groupby(heatmap.groups):
            stop = start + len(list(members))
            cells = [quantity(_median(heatmap, range(start, stop), part)) for part in thirds]
            special = [f"{sum(map(len, part[start:stop])):,}" for part in (heatmap.zero, heatmap.bad)]
            prefix = f"{heatmap.title}: " if len(panels) > 1 else ""
            rows.append((name(f"{prefix}{label}"), *cells, *special))
            start = stop
    return _table(("block", "first tenth", "middle", "last tenth", "zero cells", "NaN or Inf cells"), rows)


def _median(heatmap: Heatmap, rows: range, columns: range) -> float | None:
    """The median of a patch, turned back from log10."""
    cells = sorted(
        value for i in rows for value in heatmap.values[i][columns.start : columns.stop] if value is not None
    )
    return float(10 ** cells[len(cells) // 2]) if cells else None
