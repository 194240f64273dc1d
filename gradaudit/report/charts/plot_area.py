"""The plot of `Lines`: its ranges, from values to px, and where words find room in it."""

import math
from collections.abc import Iterator

import altair

from gradaudit.chart_data import Lines, Series
from gradaudit.report.charts.primitives import (
    Domain,
    Label,
    Part,
    around,
    axis_of,
    decades,
    drawable,
    number_format,
    power_format,
    text_width,
    truncate,
    x_axis,
)
from gradaudit.report.charts.theme import Frame

ON_BAND = 3  # what it costs a label to stand on a band, in points of lines that it would cover
ABOVE = -11.0  # px from the top of the plot to the words above it


def span(evidence: Lines) -> Domain:
    """The range of x over all series and marks; steps end where the last one ends."""
    points = [x for series in evidence.series for x in series.x]
    points += [mark.x for mark in evidence.marks if mark.x is not None]
    points += [evidence.shade_from] if evidence.shade_from is not None else []
    low, high = min(points, default=0.0), max(points, default=1.0)
    ends = high + 1 if evidence.x_label == "step" and high > low else high
    return (low, ends) if ends > low else (low, low + 1)


def heights(evidence: Lines) -> Domain:
    """The range of y over all series, bands and marks; whole decades on a log axis."""
    values = [v for series in evidence.series for part in (series.y, series.low, series.high) for v in part]
    values += [mark.y for mark in evidence.marks]
    shown = [v for v in values if v is not None and drawable(v, evidence.log)]
    low, high = min(shown, default=0.0), max(shown, default=1.0)
    if evidence.log:
        return around(low, high) if shown else (0.1, 1.0)
    if low >= 0 and low < 0.15 * high:
        low = 0.0
    pad = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    return (low if low == 0 else low - pad, high + pad)


class PlotArea:
    """The plot's area: from values to px."""

    def __init__(self, evidence: Lines, frame: Frame, domain: Domain | None) -> None:
        self.frame, self.log = frame, evidence.log
        self.x, self.y = domain or span(evidence), heights(evidence)
        self.upright: list[float] = []  # px from the left of each vertical mark
        self.level: list[float] = []  # px from the top of each horizontal mark
        self.margin: list[tuple[float, str, str]] = []  # px from the top, words and colour of what the right edge names
        self._taken: list[tuple[float, float, float]] = []  # left, right, middle of the labels written so far
        self._points = [
            point
            for series in evidence.series
            for values in (series.y, series.low, series.high)
            for point in self._drawn(series.x, values)
        ]
        self._bands = [box for series in evidence.series for box in self._washed(series)]
        drawn = [y for series in evidence.series for y in series.y if y is not None and drawable(y, self.log)]
        self.whole = max(drawn, default=0) > 1 and all(abs(y) < 1e6 and float(y).is_integer() for y in drawn)  # counts
        self.whole_x = all(float(x).is_integer() for series in evidence.series for x in series.x)
        self.x_label, self.y_label = evidence.x_label, truncate(evidence.y_label, frame.width)
        self.take(0.0, ABOVE, text_width(self.y_label))
        # Below the stroke of NaN and infinities.
        self.ceiling = 13.0 if any(series.bad for series in evidence.series) else 4.0

    def down(self, y: float) -> float:
        """px from the top of the plot."""
        low, high = map(math.log10, self.y) if self.log else self.y
        value = math.log10(y) if self.log else y
        return self.frame.height * (1 - (value - low) / (high - low))

    def across(self, x: float) -> float:
        """px from the left of the plot."""
        return self.frame.width * (x - self.x[0]) / (self.x[1] - self.x[0])

    def _drawn(self, xs: list[float], ys: list[float | None]) -> Iterator[tuple[float, float]]:
        """Points in px along a line, close enough that no label slips between two of them."""
        previous: tuple[float, float] | None = None
        for x, y in zip(xs, ys, strict=False):
            if y is None or not drawable(y, self.log):
                previous = None
                continue
            point = (self.across(x), self.down(y))
            if previous is not None:
                (x0, y0), (x1, y1) = previous, point
                pieces = min(40, int(max(abs(x1 - x0), abs(y1 - y0)) // 8) + 1)
                yield from ((x0 + (x1 - x0) * i / pieces, y0 + (y1 - y0) * i / pieces) for i in range(1, pieces))
            yield point
            previous = point

    def _washed(self, series: Series) -> Iterator[tuple[float, float, float, float]]:
        """Left, right, top and bottom of the pieces of a band, px."""
        for i, (low, high) in enumerate(zip(series.low, series.high, strict=False)):
            if high is not None and drawable(high, self.log):
                left, right = self.across(series.x[i]), self.across(series.x[min(i + 1, len(series.x) - 1)])
                if i + 1 < len(series.high) and series.high[i + 1] is None:
                    right = left
                bottom = self.down(low) if low is not None and drawable(low, self.log) else self.frame.height
                yield left, right, self.down(high), bottom

    def free(self, spots: list[tuple[float, float]], size: float) -> tuple[float, float] | None:
        """The first spot (left, middle; px) at which a label `size` px wide covers nothing; None without one."""
        return next((spot for spot in spots if not self.covered(spot[0], spot[0] + size, spot[1])), None)

    def write(self, words: str, spots: list[tuple[float, float]], colour: str, *, bold: bool = False) -> list[Part]:
        """Words at the spot (left, middle; px) where they cover least, the first of equal ones.

        Lines that they have to cross go on around the letters.
        """
        size = text_width(words, bold=bold)
        left, middle = min(spots, key=lambda spot: self.covered(spot[0], spot[0] + size, spot[1]))
        halo = self.covered(left, left + size, middle) > 0
        self.take(left, middle, size)
        return [Label(words, left, middle, colour, align="left", bold=bold, halo=halo)]

    def take(self, left: float, middle: float, size: float) -> None:
        """Keep other labels away from a label at this place."""
        self._taken.append((left, left + size, middle))

    def covered(self, left: float, right: float, middle: float) -> int:
        """What a label would cover: points of lines, marks, and above all other labels."""
        bands = any(a < right and left < b and top < middle + 6 and middle - 6 < low for a, b, top, low in self._bands)
        points = sum(left - 4 <= x <= right + 4 and abs(y - middle) <= 8 for x, y in self._points)
        marks = sum(left - 3 < x < right + 3 for x in self.upright) + sum(abs(y - middle) < 7 for y in self.level)
        labels = sum(left < end and start < right and abs(y - middle) < 13 for start, end, y in self._taken)
        return points + ON_BAND * bands + 10 * marks + 1000 * labels

    def x_of(self, field: str = "x") -> altair.X:
        """The encoding of x."""
        return x_axis(field, self.x, self.frame, self.x_label, whole=self.whole_x)

    def y_of(self, field: str = "y") -> altair.Y:
        """The encoding of y."""
        few = max(3, self.frame.height // 45)
        if self.log:
            ticks = decades(*self.y, most=few + 1)
            axis = axis_of(power_format(*self.y), values=ticks, title=self.y_label)
        else:
            least = 1 if self.whole else altair.Undefined
            axis = axis_of(number_format(*self.y), tickCount=few, tickMinStep=least, title=self.y_label)
        scale = altair.Scale(type="log" if self.log else "linear", domain=list(self.y), nice=False, zero=False)
        return altair.Y(f"{field}:Q", scale=scale, axis=axis)
