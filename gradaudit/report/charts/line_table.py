"""The numbers behind `Lines`: slices of x, in which no spike is lost."""

import math

from gradaudit.chart_data import Lines, Series
from gradaudit.report.charts.tables import number_table
from gradaudit.report.model import TableView
from gradaudit.report.text import quantity

SLICES = 12
HIDDEN = 0.05  # of a line's range


def line_table(evidence: Lines) -> TableView:
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
    return number_table(tuple(head), rows)


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
