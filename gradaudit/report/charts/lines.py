"""Draws `Lines`: bands, lines, marks and the labels at the end of each line."""

from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

import altair
import msgspec

from gradaudit.evidence.charts.reduce import FAR, halved
from gradaudit.findings import Lines, Series
from gradaudit.report.charts import ends, lacks, rules
from gradaudit.report.charts.marks import Domain, Part, chart, drawable, layered
from gradaudit.report.charts.plane import Plane
from gradaudit.report.charts.theme import BAND, CRITICAL, EVALUATION, FLAGGED, MAIN, REFERENCE, RUNS, Dash, Frame, frame

STYLES = {"main": MAIN, "evaluation": EVALUATION, "flagged": FLAGGED, "reference": REFERENCE, **RUNS}
MOST_NARROW = 60  # points of a band on small screens
FEW = 30  # points of a line that each have a dot


@dataclass(frozen=True)
class Ink:
    """How one series is drawn."""

    colour: str
    dash: Dash


def shape(height: int, *, narrow: bool) -> Frame:
    """The frame: `height` px for the plot, or the usual height for 0."""
    return frame(height or (200 if narrow else 240), narrow=narrow)


def inks(evidence: Lines) -> list[Ink]:
    """Colour and dash of each series, by its role; no colour twice where there are enough, and no pair twice."""
    found: list[Ink] = []
    for series in evidence.series:
        own = [Ink(*style) for style in STYLES.get(series.role, MAIN)]
        colours = {ink.colour for ink in found}
        fresh = [ink for ink in own if ink.colour not in colours and series.role not in RUNS]
        fresh += [ink for ink in own if ink not in found]
        found.append(fresh[0] if fresh else own[len(found) % len(own)])
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
    # Ribbons over the same points are joined alike, or the inner one would leave the outer one.
    ribboned = any(series.high and not any(y is not None for y in series.y) for series in evidence.series)
    # An empty base layer carries the axes when no series has a point.
    layers.append(chart([]).mark_point().encode(x=plane.x_of(), y=plane.y_of()))
    for series, ink in zip(evidence.series, styles, strict=True):
        layers += _band(series, ink, plane, joined=ribboned or series.role == "evaluation")
    for series, ink in zip(evidence.series, styles, strict=True):
        layers += _line(series, ink, plane)
    colours = [ink.colour for ink in styles]
    layers += rules.draw(evidence.marks, plane)
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


def _band(series: Series, ink: Ink, plane: Plane, *, joined: bool) -> list[Part]:
    """The area between the least and the greatest value: slices of steps are steps, other areas are `joined`."""
    rows: list[dict[str, float | None]] = []
    usual = _usual(series)
    zero = _over_zero(series)
    for i, (x, high) in enumerate(zip(series.x, series.high, strict=False)):
        low = series.low[i] if i < len(series.low) else None
        y = low if low is not None and drawable(low, plane.log) else plane.y[0]
        if high is None or not drawable(high, plane.log):
            rows.append({"x": x, "y": None, "y2": None})
            continue
        # Between line and zero: an area from the least to the greatest would leave the line where it crosses zero.
        row: dict[str, float | None] = {"x": x, "y": series.y[i], "y2": 0.0} if zero else {"x": x, "y": y, "y2": high}
        rows.append(row)
        far = i + 1 < len(series.x) and series.x[i + 1] - x > FAR * usual
        if far and not joined:
            rows += [{**row, "x": x + usual}, {"x": x + usual, "y": None, "y2": None}]
    if all(row["y"] is None for row in rows):
        return []
    colour, opacity = _wash(ink)
    shape: Literal["linear", "step-after"] = "linear" if joined else "step-after"
    # The outline shows slices that hold one value, whose area has no height.
    outline = {"color": colour, "strokeWidth": 1, "interpolate": shape, "opacity": 1 if colour == BAND else 0.45}
    area = chart(rows).mark_area(color=colour, opacity=opacity, interpolate=shape, line=False if joined else outline)
    return [area.encode(x=plane.x_of(), y=plane.y_of(), y2="y2")]


def _over_zero(series: Series) -> bool:
    """Whether the band is what lies between the line and zero."""
    ends = list(zip(series.y, series.low, series.high, strict=False))
    known = [(y, low, high) for y, low, high in ends if y is not None]
    return bool(known) and all(low == min(0.0, y) and high == max(0.0, y) for y, low, high in known)


def _usual(series: Series) -> float:
    """The usual distance between two points."""
    return median(after - before for before, after in pairwise(series.x)) if len(series.x) > 1 else 1.0


def _line(series: Series, ink: Ink, plane: Plane) -> list[Part]:
    rows = [{"x": x, "y": y if drawable(y, plane.log) else None} for x, y in zip(series.x, series.y, strict=True)]
    if not any(row["y"] is not None for row in rows):
        return []
    dash = list(ink.dash) if ink.dash else altair.Undefined
    line = chart(rows).mark_line(color=ink.colour, strokeWidth=1.8, strokeDash=dash)
    layers: list[Part] = [line.encode(x=plane.x_of(), y=plane.y_of())]
    dotted = [row for row, alone in zip(rows, _alone(series), strict=True) if alone and row["y"] is not None]
    if dotted:
        point = chart(dotted).mark_point(color=ink.colour, filled=True, size=14, opacity=1)
        layers.append(point.encode(x=plane.x_of(), y=plane.y_of()))
    return layers


def _alone(series: Series) -> list[bool]:
    """Which points have a dot: all where they are few, else those far from the next one, which a line would hide."""
    count = len(series.x)
    if count <= FEW:
        return [True] * count
    far = [after - before > FAR * _usual(series) for before, after in pairwise(series.x)]
    return [before or after for before, after in zip([False, *far], [*far, False], strict=True)]
