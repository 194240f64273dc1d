"""Draws `Lines`: bands, lines, marks and the labels at the end of each line."""

from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Literal

import altair
import msgspec

from gradaudit.chart_data import Lines, Series
from gradaudit.evidence.charts.reduce import FAR, halved
from gradaudit.report.charts import end_labels, missing_values, reference_lines, tooltips
from gradaudit.report.charts.chart import Layout
from gradaudit.report.charts.line_table import line_table
from gradaudit.report.charts.plot_area import PlotArea, span
from gradaudit.report.charts.primitives import Domain, Part, chart, drawable, layered
from gradaudit.report.charts.theme import BAND, CRITICAL, EVALUATION, FLAGGED, MAIN, REFERENCE, RUNS, Dash, Frame, frame
from gradaudit.report.model import Legend, LegendEntry, TableView
from gradaudit.report.text import name

STYLES = {"main": MAIN, "evaluation": EVALUATION, "flagged": FLAGGED, "reference": REFERENCE, **RUNS}
MOST_NARROW = 60  # points of a band on small screens
MOST_ENTRIES, MOST_NAMED = 12, 6  # series that the legend and the tooltip name
SHARED = 0.7  # of the run's steps; a chart over fewer has its own axis
FEW = 30  # points of a line that each have a dot


@dataclass(frozen=True)
class LineStyle:
    """How one series is drawn."""

    colour: str
    dash: Dash


def line_styles(evidence: Lines) -> list[LineStyle]:
    """Colour and dash of each series, by its role; no colour twice where there are enough, and no pair twice."""
    found: list[LineStyle] = []
    for series in evidence.series:
        own = [LineStyle(*pair) for pair in STYLES.get(series.role, MAIN)]
        colours = {style.colour for style in found}
        fresh = [style for style in own if style.colour not in colours and series.role not in RUNS]
        fresh += [style for style in own if style not in found]
        found.append(fresh[0] if fresh else own[len(found) % len(own)])
    return found


def _swatch(series: Series, style: LineStyle) -> tuple[str, str, float]:
    """What the legend shows beside the colour and the dash: the shape, and colour and opacity of the band."""
    if not any(value is not None for value in series.high):
        return "line", "", 1.0
    colour, opacity = _wash(style)
    return "band" if any(y is not None for y in series.y) else "area", colour, opacity


def _wash(style: LineStyle) -> tuple[str, float]:
    """Colour and opacity of the band around a line."""
    return (BAND, 0.55) if style.colour == MAIN[0][0] else (style.colour, 0.25)


def _band(series: Series, style: LineStyle, plot: PlotArea, *, joined: bool) -> list[Part]:
    """The area between the least and the greatest value: slices of steps are steps, other areas are `joined`."""
    rows: list[dict[str, float | None]] = []
    usual = _usual(series)
    zero = _over_zero(series)
    for i, (x, high) in enumerate(zip(series.x, series.high, strict=False)):
        low = series.low[i] if i < len(series.low) else None
        y = low if low is not None and drawable(low, plot.log) else plot.y[0]
        if high is None or not drawable(high, plot.log):
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
    colour, opacity = _wash(style)
    shape: Literal["linear", "step-after"] = "linear" if joined else "step-after"
    # The outline shows slices that hold one value, whose area has no height.
    outline = {"color": colour, "strokeWidth": 1, "interpolate": shape, "opacity": 1 if colour == BAND else 0.45}
    area = chart(rows).mark_area(color=colour, opacity=opacity, interpolate=shape, line=False if joined else outline)
    return [area.encode(x=plot.x_of(), y=plot.y_of(), y2="y2")]


def _over_zero(series: Series) -> bool:
    """Whether the band is what lies between the line and zero."""
    ends = list(zip(series.y, series.low, series.high, strict=False))
    known = [(y, low, high) for y, low, high in ends if y is not None]
    return bool(known) and all(low == min(0.0, y) and high == max(0.0, y) for y, low, high in known)


def _usual(series: Series) -> float:
    """The usual distance between two points."""
    return median(after - before for before, after in pairwise(series.x)) if len(series.x) > 1 else 1.0


def _line(series: Series, style: LineStyle, plot: PlotArea) -> list[Part]:
    rows = [{"x": x, "y": y if drawable(y, plot.log) else None} for x, y in zip(series.x, series.y, strict=True)]
    if not any(row["y"] is not None for row in rows):
        return []
    dash = list(style.dash) if style.dash else altair.Undefined
    line = chart(rows).mark_line(color=style.colour, strokeWidth=1.8, strokeDash=dash)
    layers: list[Part] = [line.encode(x=plot.x_of(), y=plot.y_of())]
    dotted = [row for row, alone in zip(rows, _alone(series), strict=True) if alone and row["y"] is not None]
    if dotted:
        point = chart(dotted).mark_point(color=style.colour, filled=True, size=14, opacity=1)
        layers.append(point.encode(x=plot.x_of(), y=plot.y_of()))
    return layers


def _alone(series: Series) -> list[bool]:
    """Which points have a dot: all where they are few, else those far from the next one, which a line would hide."""
    count = len(series.x)
    if count <= FEW:
        return [True] * count
    far = [after - before > FAR * _usual(series) for before, after in pairwise(series.x)]
    return [before or after for before, after in zip([False, *far], [*far, False], strict=True)]


def _from_zero(evidence: Lines) -> Lines:
    """An evaluation before the first step, recorded as after step -1, stands at step 0 as in the charts of the run."""
    early = evidence.x_label == "step" and any(x < 0 for series in evidence.series for x in series.x)
    if not early:
        return evidence
    series = [msgspec.structs.replace(one, x=[max(x, 0.0) for x in one.x]) for one in evidence.series]
    return msgspec.structs.replace(evidence, series=series)


def _shared(evidence: Lines, steps: Domain | None) -> Domain | None:
    """The steps of the run for a chart over most of them; None for one that looks closer."""
    if steps is None or evidence.x_label != "step":
        return None
    first, last = span(evidence)
    return steps if first >= steps[0] and SHARED * steps[1] <= last <= steps[1] + 1 else None


@dataclass(frozen=True)
class LineChart:
    """Lines over steps; `x` and `height` as in `Layout`."""

    evidence: Lines
    x: Domain | None = None
    height: int = 0

    @classmethod
    def of(cls, evidence: Lines, layout: Layout) -> "LineChart":
        """The chart that fits to the others of its page."""
        evidence = _from_zero(evidence)
        return cls(evidence, layout.x or _shared(evidence, layout.steps), layout.height)

    def frame(self, *, narrow: bool) -> Frame:
        """`height` px for the plot, or the usual height for 0."""
        return frame(self.height or (200 if narrow else 240), narrow=narrow)

    def draw(self, frame: Frame) -> altair.LayerChart:
        """Bands, then lines, then marks and words."""
        evidence = self.evidence
        if frame.narrow:
            fewer = [halved(one) if one.high and len(one.x) > MOST_NARROW else one for one in evidence.series]
            evidence = msgspec.structs.replace(evidence, series=fewer)
        plot = PlotArea(evidence, frame, self.x)
        layers: list[Part] = []
        if evidence.shade_from is not None and evidence.shade_from < plot.x[1]:
            wash = chart([{"x": evidence.shade_from, "x2": plot.x[1]}]).mark_rect(color=CRITICAL, opacity=0.06)
            layers.append(wash.encode(x=plot.x_of(), x2="x2"))
        styles = line_styles(evidence)
        # Ribbons over the same points are joined alike, or the inner one would leave the outer one.
        ribboned = any(series.high and not any(y is not None for y in series.y) for series in evidence.series)
        # An empty base layer carries the axes when no series has a point.
        layers.append(chart([]).mark_point().encode(x=plot.x_of(), y=plot.y_of()))
        for series, style in zip(evidence.series, styles, strict=True):
            layers += _band(series, style, plot, joined=ribboned or series.role == "evaluation")
        for series, style in zip(evidence.series, styles, strict=True):
            layers += _line(series, style, plot)
        colours = [style.colour for style in styles]
        layers += reference_lines.draw(evidence.marks, plot)
        layers += missing_values.strokes(evidence, colours, plot)
        layers += end_labels.labels(evidence, colours, plot)
        return layered(layers)

    def tooltip(self) -> str:
        """The points of each series, and where the plot stands in the wide and the narrow picture."""
        series = [
            {"name": name(one.name), "x": [*map(tooltips.finite, one.x)], "y": [*map(tooltips.finite, one.y)]}
            for one in self.evidence.series[:MOST_NAMED]
            if len(one.x) > 0
        ]
        if not series:
            return ""
        places = {size: {"frame": tooltips.box(self.frame(narrow=narrow))} for size, narrow in tooltips.SIZES}
        x = [*map(tooltips.finite, self.x or span(self.evidence))]
        return tooltips.encoded({"label": name(self.evidence.x_label), "x": x, "series": series, **places})

    def table(self) -> TableView:
        """Slices of x; the head alone where every value is exactly zero."""
        table = line_table(self.evidence)
        # Rows of zeros would say it again.
        return replace(table, rows=(), left_out=0) if self.placeholder() == missing_values.ALL_ZERO else table

    def legend(self) -> Legend:
        """The lines, where there are several."""
        if len(self.evidence.series) < 2:
            return Legend()
        styles = line_styles(self.evidence)
        return Legend(
            tuple(
                LegendEntry(name(series.name), style.colour, " ".join(map(str, style.dash)), *_swatch(series, style))
                for series, style in zip(self.evidence.series, styles, strict=True)
            )[:MOST_ENTRIES]
        )

    def placeholder(self) -> str:
        """What the values are where none has a place in the plot."""
        return missing_values.placeholder(self.evidence)
