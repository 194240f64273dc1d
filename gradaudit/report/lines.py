"""Draws `Lines`: bands, lines, marks and the labels at the end of each line."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import altair
import msgspec

from gradaudit.derived.reduce import halved
from gradaudit.findings import Lines, Mark, Series
from gradaudit.report.marks import (
    Domain,
    Part,
    apart,
    around,
    axis_of,
    chart,
    decades,
    drawable,
    fitting,
    layered,
    number_format,
    power_format,
    sheet,
    text,
    wide,
    x_axis,
)
from gradaudit.report.text import name, quantity
from gradaudit.report.theme import (
    BAND,
    CRITICAL,
    EVALUATION,
    FLAGGED,
    MAIN,
    MUTED,
    ORANGE,
    REFERENCE,
    RUNS,
    Dash,
    Frame,
    frame,
)

STYLES = {"main": MAIN, "evaluation": EVALUATION, "flagged": FLAGGED, "reference": REFERENCE, **RUNS}
MARK_COLOURS = {"threshold": CRITICAL, "reference": MUTED, "best": ORANGE}


CROWDED = 4  # points of lines under a label
MOST_NARROW = 60  # points of a band on small screens


@dataclass(frozen=True)
class Ink:
    """How one series is drawn."""

    colour: str
    dash: Dash


def shape(height: int, *, narrow: bool) -> Frame:
    """The frame: `height` px for the plot, or the usual height for 0."""
    return frame(height or (200 if narrow else 240), narrow=narrow)


def inks(evidence: Lines) -> list[Ink]:
    """Colour and dash of each series, by its role."""
    seen: dict[str, int] = {}
    found = []
    for series in evidence.series:
        styles = STYLES.get(series.role, MAIN)
        index = seen[series.role] = seen.get(series.role, -1) + 1
        found.append(Ink(*styles[index % len(styles)]))
    return found


def span(evidence: Lines) -> Domain:
    """The range of x over all series and marks."""
    points = [x for series in evidence.series for x in series.x]
    points += [mark.x for mark in evidence.marks if mark.x is not None]
    points += [evidence.shade_from] if evidence.shade_from is not None else []
    low, high = min(points, default=0.0), max(points, default=1.0)
    return (low, high) if high > low else (low, low + 1)


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


class Plane:
    """The plot's area: from values to px."""

    def __init__(self, evidence: Lines, frame: Frame, domain: Domain | None) -> None:
        self.frame, self.log = frame, evidence.log
        self.x, self.y = domain or span(evidence), heights(evidence)
        self.upright: list[float] = []  # px from the left of each vertical mark
        self.level: list[float] = []  # px from the top of each horizontal mark
        self._taken: list[tuple[float, float, float]] = []  # left, right, middle of the labels written so far
        self._points = [
            point
            for series in evidence.series
            for values in (series.y, series.low, series.high)
            for point in self._drawn(series.x, values)
        ]
        drawn = [y for series in evidence.series for y in series.y if y is not None and drawable(y, self.log)]
        self.whole = max(drawn, default=0) > 1 and all(abs(y) < 1e6 and float(y).is_integer() for y in drawn)  # counts
        self.x_label, self.y_label = evidence.x_label, fitting(evidence.y_label, frame.width)

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

    def place(self, spots: list[tuple[float, float]], size: float) -> tuple[float, float]:
        """The spot (left, middle; px) at which a label `size` px wide covers least; the first of equal ones."""
        spot = min(spots, key=lambda spot: self._covered(spot[0], spot[0] + size, spot[1]))
        self._taken.append((spot[0], spot[0] + size, spot[1]))
        return spot

    def _covered(self, left: float, right: float, middle: float) -> int:
        """What a label would cover: points of lines, marks, and above all other labels."""
        points = sum(left - 4 <= x <= right + 4 and abs(y - middle) <= 8 for x, y in self._points)
        marks = sum(left - 3 < x < right + 3 for x in self.upright) + sum(abs(y - middle) < 7 for y in self.level)
        labels = sum(left < end and start < right and abs(y - middle) < 13 for start, end, y in self._taken)
        return points + 10 * marks + 1000 * labels

    def paper(self, left: float, middle: float, size: float) -> list[Part]:
        """A sheet under a label that would else be unreadable among the lines it covers."""
        covered = sum(left <= x <= left + size and abs(y - middle) <= 7 for x, y in self._points)
        return [sheet(left - 3, middle - 8, size + 6, 15)] if covered >= CROWDED else []

    def x_of(self, field: str = "x") -> altair.X:
        """The encoding of x."""
        return x_axis(field, self.x, self.frame, self.x_label)

    def y_of(self, field: str = "y") -> altair.Y:
        """The encoding of y."""
        few = max(3, self.frame.height // 45)
        if self.log:
            ticks = decades(*self.y, most=few + 1)
            axis = altair.Axis(values=ticks, format=power_format(*self.y), title=self.y_label)
        else:
            least = 1 if self.whole else altair.Undefined
            axis = axis_of(number_format(*self.y), tickCount=few, tickMinStep=least, title=self.y_label)
        scale = altair.Scale(type="log" if self.log else "linear", domain=list(self.y), nice=False, zero=False)
        return altair.Y(f"{field}:Q", scale=scale, axis=axis)


def draw(evidence: Lines, frame: Frame, domain: Domain | None = None) -> altair.LayerChart:
    """The chart; `domain` fixes the x range so that charts of one page line up."""
    if frame.narrow:
        fewer = [halved(one) if one.high and len(one.x) > MOST_NARROW else one for one in evidence.series]
        evidence = msgspec.structs.replace(evidence, series=fewer)
    plane = Plane(evidence, frame, domain)
    layers: list[Part] = []
    if evidence.shade_from is not None and evidence.shade_from < plane.x[1]:
        wash = chart([{"x": evidence.shade_from, "x2": plane.x[1]}]).mark_rect(color=CRITICAL, opacity=0.06)
        layers.append(wash.encode(x=plane.x_of(), x2="x2"))
    styles = inks(evidence)
    # An empty base layer carries the axes when no series has a point.
    layers.append(chart([]).mark_point().encode(x=plane.x_of(), y=plane.y_of()))
    for series, ink in zip(evidence.series, styles, strict=True):
        layers += _band(series, ink, plane)
    for series, ink in zip(evidence.series, styles, strict=True):
        layers += _line(series, ink, plane)
    layers += _marks(evidence.marks, plane)
    layers += _ends(evidence, styles, plane)
    return layered(layers)


def _band(series: Series, ink: Ink, plane: Plane) -> list[Part]:
    rows = [
        {"x": x, "y": low if low is not None and drawable(low, plane.log) else plane.y[0], "y2": high}
        for x, low, high in zip(series.x, series.low, series.high, strict=False)
        if drawable(high, plane.log)
    ]
    if not rows:
        return []
    colour = BAND if ink.colour == MAIN[0][0] else ink.colour
    # Slices of steps are steps; an area around what was measured at single points is joined as its line is.
    shape: Literal["linear", "step-after"] = "linear" if series.role != "main" else "step-after"
    # The outline shows slices that hold one value, whose area has no height.
    outline = {"color": colour, "strokeWidth": 1, "interpolate": shape} if colour == BAND else False
    area = chart(rows).mark_area(
        color=colour, opacity=0.55 if colour == BAND else 0.25, interpolate=shape, line=outline
    )
    return [area.encode(x=plane.x_of(), y=plane.y_of(), y2="y2")]


def _line(series: Series, ink: Ink, plane: Plane) -> list[Part]:
    rows = [{"x": x, "y": y if drawable(y, plane.log) else None} for x, y in zip(series.x, series.y, strict=True)]
    if not any(row["y"] is not None for row in rows):
        return []
    dash = list(ink.dash) if ink.dash else altair.Undefined
    line = chart(rows).mark_line(color=ink.colour, strokeWidth=1.8, strokeDash=dash)
    layers: list[Part] = [line.encode(x=plane.x_of(), y=plane.y_of())]
    if len(rows) <= 30:
        dots = chart(row for row in rows if row["y"] is not None)
        point = dots.mark_point(color=ink.colour, filled=True, size=14, opacity=1)
        layers.append(point.encode(x=plane.x_of(), y=plane.y_of()))
    return layers


def _marks(marks: list[Mark], plane: Plane) -> list[Part]:
    parts: list[Part] = []
    inside = [mark for mark in marks if mark.x is not None and plane.x[0] <= mark.x <= plane.x[1]]
    level = [mark for mark in marks if mark.x is None and mark.y is not None and drawable(mark.y, plane.log)]
    plane.upright += [plane.across(mark.x) for mark in inside if mark.x is not None]
    plane.level += [plane.down(mark.y) for mark in level if mark.y is not None]
    for mark in level:
        parts += _level(mark, mark.y or 0.0, plane)
    for mark, across in zip(inside, list(plane.upright), strict=True):
        parts += _upright(mark, across, plane)
    return parts


def _label(mark: Mark, plane: Plane) -> str:
    """The mark's label; a narrow chart has room for its first part."""
    label = name(mark.label)
    return label.partition(" · ")[0] if plane.frame.narrow else label


def _level(mark: Mark, y: float, plane: Plane) -> list[Part]:
    """A horizontal line; its label stands above or below it, right if nothing is in the way."""
    colour = MARK_COLOURS.get(mark.role, MUTED)
    rule = chart([{"y": y}]).mark_rule(color=colour, strokeDash=[5, 4], strokeWidth=1.2).encode(y=plane.y_of())
    label = fitting(_label(mark, plane), plane.frame.width)
    size, top = wide(label), plane.down(y)
    lefts = [plane.frame.width - 2 - size, *(place - 5 - size for place in sorted(plane.upright, reverse=True))]
    lefts += [(plane.frame.width - size) / 2, 4.0]
    spots = [(left, top + shift) for left in lefts for shift in (-9, 10) if left >= 0 and top + shift > 0]
    left, middle = plane.place(spots or [(2.0, top - 9)], size)
    return [rule, *plane.paper(left, middle, size), text(label, left, middle, colour, align="left")]


def _upright(mark: Mark, across: float, plane: Plane) -> list[Part]:
    """A vertical line, and a point where the mark has a height; its label stands beside it, where there is room."""
    colour = MARK_COLOURS.get(mark.role, MUTED)
    rule = chart([{"x": mark.x}]).mark_rule(color=colour, strokeDash=[2, 3]).encode(x=plane.x_of())
    parts: list[Part] = [rule]
    if mark.y is not None and drawable(mark.y, plane.log):
        point = chart([{"x": mark.x, "y": mark.y}]).mark_point(color=colour, filled=True, size=55, opacity=1)
        parts.append(point.encode(x=plane.x_of(), y=plane.y_of()))
    label = fitting(_label(mark, plane), max(across, plane.frame.width - across) - 8)
    size = wide(label) * 1.08  # bold
    sides = [left for left in (across - 7 - size, across + 7) if 0 <= left <= plane.frame.width - size + 4]
    heights = [plane.frame.height * share for share in (0.34, 0.22, 0.5, 0.64, 0.1, 0.78, 0.92)]
    left, middle = plane.place([(left, height) for height in heights for left in sides] or [(2.0, heights[0])], size)
    return [*parts, *plane.paper(left, middle, size), text(label, left, middle, colour, align="left", bold=True)]


def _ends(evidence: Lines, styles: list[Ink], plane: Plane) -> list[Part]:
    """The name and the last value of each series, right of the plot, kept apart."""
    ends = []
    for series, ink in zip(evidence.series, styles, strict=True):
        last = next((y for y in reversed(series.y) if drawable(y, plane.log)), None)
        if last is not None:
            ends.append((name(series.name), last, ink.colour))
    if len(ends) * 13 > plane.frame.height + 26:
        return []
    places = apart([plane.down(last) for _, last, _ in ends], 13, 4, plane.frame.height - 2)
    layers: list[Part] = []
    for (label, last, colour), place in zip(ends, places, strict=True):
        value = f"{last:,.0f}" if plane.whole else quantity(last)
        both = f"{label} {value}" if len(ends) > 1 else value
        shown = both if 1.08 * wide(both) <= plane.frame.right - 6 else value
        end = text(shown, plane.frame.width + 6, place, colour, align="left", baseline="middle", bold=True)
        layers.append(end)
    return layers
