"""Draws `Lines`: bands, lines, marks and the labels at the end of each line."""

import re
from dataclasses import dataclass
from typing import Literal

import altair
import msgspec

from gradaudit.derived.reduce import halved
from gradaudit.findings import Lines, Mark, Series
from gradaudit.report import ends, lacks
from gradaudit.report.marks import Domain, Part, chart, drawable, fitting, layered, signed, text, wide
from gradaudit.report.plane import Plane
from gradaudit.report.text import name
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
HEIGHTS = (0.34, 0.22, 0.5, 0.64, 0.1, 0.78, 0.92, 0.04, 0.28, 0.42, 0.57, 0.71, 0.85)  # of a label beside a mark
_NUMBER = re.compile(r":? [−\d.,e]+$")
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
    colours = [ink.colour for ink in styles]
    layers += _marks(evidence.marks, plane)
    layers += lacks.strokes(evidence, colours, plane)
    layers += ends.labels(evidence, colours, plane)
    return layered(layers)


def swatch(series: Series, ink: Ink) -> tuple[str, str, float]:
    """What the legend shows beside the colour and the dash: the shape, and colour and opacity of the band."""
    if not any(value is not None for value in series.high):
        return "line", "", 1.0
    colour, opacity = _wash(ink)
    return "band" if any(y is not None for y in series.y) else "area", colour, opacity


def _wash(ink: Ink) -> tuple[str, float]:
    """Colour and opacity of the band around a line."""
    return (BAND, 0.55) if ink.colour == MAIN[0][0] else (ink.colour, 0.25)


def _band(series: Series, ink: Ink, plane: Plane) -> list[Part]:
    rows = [
        {"x": x, "y": low if low is not None and drawable(low, plane.log) else plane.y[0], "y2": high}
        for x, low, high in zip(series.x, series.low, series.high, strict=False)
        if drawable(high, plane.log)
    ]
    if not rows:
        return []
    colour, opacity = _wash(ink)
    # Slices of steps are steps; an area around what was measured at single points is joined as its line is.
    shape: Literal["linear", "step-after"] = "linear" if series.role != "main" else "step-after"
    # The outline shows slices that hold one value, whose area has no height.
    outline = {"color": colour, "strokeWidth": 1, "interpolate": shape} if colour == BAND else False
    area = chart(rows).mark_area(color=colour, opacity=opacity, interpolate=shape, line=outline)
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


def _label(mark: Mark, plane: Plane, room: float, *, bold: bool = False) -> str:
    """The mark's label; where that is too long its first part, then that without its number."""
    whole = signed(name(mark.label))
    first = whole.partition(" · ")[0]
    for label in ([] if plane.frame.narrow else [whole]) + [first, _NUMBER.sub("", first)]:
        if wide(label, bold=bold) <= room:
            return label
    return fitting(first, room, bold=bold)


def _level(mark: Mark, y: float, plane: Plane) -> list[Part]:
    """A horizontal line; its label stands above or below it, right if nothing is in the way."""
    colour = MARK_COLOURS.get(mark.role, MUTED)
    rule = chart([{"y": y}]).mark_rule(color=colour, strokeDash=[5, 4], strokeWidth=1.2).encode(y=plane.y_of())
    label = _label(mark, plane, plane.frame.width - 4)
    if not label:
        return [rule]
    size, top = wide(label), plane.down(y)
    lefts = [plane.frame.width - 2 - size, *(place - 5 - size for place in sorted(plane.upright, reverse=True))]
    lefts += [*((plane.frame.width - size) * share for share in (0.75, 0.5, 0.25)), 4.0]
    downs = [top + shift for shift in (-9, 10) if 0 < top + shift < plane.frame.height - 5]
    spots = [(left, down) for left in lefts for down in downs if left >= 0]
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
    label = _label(mark, plane, max(across, plane.frame.width - across) - 8, bold=True)
    if not label:
        return parts
    size = wide(label, bold=True)
    # A little farther off where lines run close to the mark, unless another mark would come between.
    sides = [across - 7 - size, across + 7]
    for more in (22, 45):
        if not any(0 < abs(place - across) < more for place in plane.upright):
            sides += [across - more - size, across + more]
    sides = [left for left in sides if 0 <= left <= plane.frame.width - size + 4]
    heights = [plane.frame.height * share for share in HEIGHTS]
    left, middle = plane.place([(left, height) for height in heights for left in sides] or [(2.0, heights[0])], size)
    return [*parts, *plane.paper(left, middle, size), text(label, left, middle, colour, align="left", bold=True)]
