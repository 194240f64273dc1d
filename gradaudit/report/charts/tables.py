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
HIDDEN = 0.05  # of a line's range


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
    """Each series over slices of x: its first value there, and the least and the greatest; then its last value."""
    series = evidence.series[:4]
    points = sorted({x for one in series for x in one.x})
    label = evidence.x_label or "x"
    if not points:
        return TableView((label,), ())
    sliced = len(points) > SLICES
    edges = [points[i * (len(points) - 1) // (SLICES - 1)] for i in range(SLICES)] if sliced else points
    extremes = [_banded(one) or (sliced and _hidden(one, edges)) for one in series]
    head = [label]
    for one, ranged in zip(series, extremes, strict=True):
        # The name of the only one with a range need not be said three times.
        own = "" if sum(extremes) == 1 and _lined(one) else f"{_brief(one.name)}, "
        head += [*([one.name] if _lined(one) else []), *([f"{own}least", f"{own}greatest"] if ranged else [])]
    rows = []
    for low, high in zip(edges, [*edges[1:], math.inf], strict=True):
        row = [f"{low:,.6g}" if not sliced or high == math.inf else f"from {low:,.6g}"]
        for one, ranged in zip(series, extremes, strict=True):
            row += _slice(one, low, high, ranged)
        rows.append(tuple(row))
    return _table(tuple(head), rows)


def _brief(name: str) -> str:
    """A name without what stands in brackets at its end."""
    return name.partition(" (")[0] if name.endswith(")") else name


def _hidden(series: Series, edges: list[float]) -> bool:
    """Whether a line goes well beyond its values at the edges of the slices, as at a spike between two of them."""
    known = [(x, y) for x, y in zip(series.x, series.y, strict=False) if y is not None]
    shown = [next((y for x, y in known if x >= edge), known[-1][1]) for edge in edges if known]
    values = [y for _, y in known]
    if not values:
        return False
    slack = HIDDEN * (max(values) - min(values))
    return min(values) < min(shown) - slack or max(values) > max(shown) + slack


def _lined(series: Series) -> bool:
    """Whether a series is more than a band."""
    return not _banded(series) or bool(series.bad) or any(value is not None for value in series.y)


def _banded(series: Series) -> bool:
    """Whether its band tells more than its line: the area between a line and zero does not."""
    ends = zip(series.y, series.low, series.high, strict=False)
    return bool(series.high) and any({low, high} - {0.0, None} - {value} for value, low, high in ends)


def _slice(series: Series, low: float, high: float, ranged: bool) -> list[str]:
    inside = [i for i, x in enumerate(series.x) if low <= x < high]
    values = [value for i in inside if (value := series.y[i]) is not None]
    bad = any(first < high and low <= last for first, last in series.bad)
    # What is NaN may come before the value or after it.
    told = [quantity(values[0])] if values else []
    cells = [", ".join([*told, *(["NaN or Inf"] if bad else [])]) or "–"] if _lined(series) else []
    if ranged:
        least, greatest = (series.low, series.high) if _banded(series) else (series.y, series.y)
        lows = [v for i in inside if i < len(least) and (v := least[i]) is not None]
        highs = [v for i in inside if i < len(greatest) and (v := greatest[i]) is not None]
        cells += [quantity(min(lows, default=None)), quantity(max(highs, default=None))]
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
