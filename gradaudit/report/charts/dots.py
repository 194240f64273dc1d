"""Draws `Dots`: one mark for each tensor, blocks of the model from top to bottom, decades shaded."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, pairwise

import altair

from gradaudit.chart_data import Dot, Dots
from gradaudit.evidence.charts.reduce import blocks
from gradaudit.evidence.words.wording import plural
from gradaudit.report.charts import tooltips
from gradaudit.report.charts.primitives import (
    Domain,
    Label,
    Part,
    abbreviate,
    around,
    axis_of,
    chart,
    decades,
    drawable,
    layered,
    number_format,
    power_format,
    text_width,
    truncate,
)
from gradaudit.report.charts.tables import number_table
from gradaudit.report.charts.theme import AXIS, BAND, BLUE, CRITICAL, GREEN, GRID, MUTED, ORANGE, PINK, Frame, frame
from gradaudit.report.model import Legend, LegendEntry, TableView
from gradaudit.report.text import name, quantity

FEW = 12
ALL_ZERO = "Every value is exactly 0."
KINDS = {
    "weight": (BLUE, "circle"),
    "bias": (ORANGE, "square"),
    "norm": (GREEN, "triangle-up"),
    "embedding": (PINK, "diamond"),
    "activation": (BLUE, "circle"),
    "other": (MUTED, "cross"),
}


def kind(dot: Dot) -> str:
    """The dot's group, "other" when it is none of ours."""
    return dot.group if dot.group in KINDS else "other"


def bands(dots: list[Dot]) -> tuple[list[str], list[int]]:
    """The labels of the rows from top to bottom, and the row of each dot."""
    names = [dot.label for dot in dots]
    # A few tensors have a row and a name each.
    labels = names if len(names) <= FEW else blocks(names)
    rows: list[str] = []
    place: list[int] = []
    for label, members in groupby(labels):
        rows.append(label)
        place += [len(rows) - 1 for _ in members]
    return rows, place


def domain_of(evidence: Dots) -> Domain:
    """The range of x: whole decades on a log axis."""
    values = [dot.value for dot in evidence.dots] + [mark.x for mark in evidence.marks]
    shown = [v for v in values if v is not None and math.isfinite(v) and (v > 0 or not evidence.log)]
    if not shown:
        return (0.1, 1.0) if evidence.log else (0.0, 1.0)
    if evidence.log:
        return around(min(shown), max(shown))
    low, high = min(0.0, *shown), max(0.0, *shown)
    pad = 0.05 * (high - low) or 1.0
    return (low - pad if low < 0 else 0.0, high + pad)


def _stems(
    evidence: Dots, points: list[tuple[Dot, float]], rows: list[str], x_of: Callable[[str], altair.X], y: altair.Y
) -> list[Part]:
    """Lines from zero to each dot, where the axis has a zero and each row one dot: lengths are read as shares."""
    if evidence.log or len(points) > len(rows) or any((dot.value or 0) < 0 for dot, _ in points):
        return []
    layers: list[Part] = []
    for colour, flagged in ((BAND, False), (CRITICAL, True)):
        stems = [{"x": 0, "x2": dot.value, "y": down} for dot, down in points if dot.flagged is flagged and dot.value]
        if stems:
            layers.append(chart(stems).mark_rule(color=colour, strokeWidth=3).encode(x=x_of("x"), x2="x2", y=y))
    return layers


def _mark(label: str, x: float, colour: str, frame: Frame, domain: Domain, x_of: altair.X) -> list[Part]:
    rule = chart([{"x": x}]).mark_rule(color=colour, strokeDash=[5, 4]).encode(x=x_of)
    share = _share(x, domain)
    align = "right" if share > 0.7 else "left" if share < 0.3 else "center"
    words = Label(truncate(label, frame.width * 0.7), frame.width * share, -9, colour, align=align, baseline="middle")
    return [rule, words]


def _rows(rows: list[str], step: float, frame: Frame) -> list[Part]:
    labels = [
        Label(abbreviate(name(label), frame.left - 14), -8, (row + 0.5) * step, MUTED, align="right", baseline="middle")
        for row, label in enumerate(rows)
    ]
    rule = chart([{"y": frame.height}]).mark_rule(color=AXIS, opacity=0.4)
    scale = altair.Scale(domain=[frame.height, 0], nice=False)
    return [*labels, rule.encode(y=altair.Y("y:Q", scale=scale, axis=None))]


def _without_place(evidence: Dots, place: list[int], step: float, frame: Frame) -> list[Part]:
    """Tensors that have no place on the axis, named in words at the left end of their row."""
    rows: dict[tuple[int, str], list[Dot]] = {}
    for dot, row in zip(evidence.dots, place, strict=True):
        if not drawable(dot.value, evidence.log):
            known = dot.value is not None and math.isfinite(dot.value)
            words = ("exactly 0" if dot.value == 0 else "below 0") if known else "no value"
            rows.setdefault((row, words), []).append(dot)
    layers: list[Part] = []
    taken: list[tuple[int, float, float]] = [(row, left - 6, left + 6) for row, left in _across(evidence, place, frame)]
    for (row, words), members in rows.items():
        flagged = any(dot.flagged for dot in members)
        last = dict.fromkeys(name(dot.label).rpartition(".")[2] for dot in members)
        shown = truncate(f"◂ {words}: {', '.join(last)}", frame.width * 0.7, bold=flagged)
        size = text_width(shown, bold=flagged)
        # Beside the dots of the row, not on them.
        spots = [2.0, *sorted(right + 2 for at, _, right in taken if at == row and right + size < frame.width)]

        def covered(left: float, row: int = row, size: float = size) -> int:
            return sum(at == row and left < right and start < left + size for at, start, right in taken)

        left = min(spots, key=covered)
        taken.append((row, left, left + size))
        colour = CRITICAL if flagged else MUTED
        layers.append(Label(shown, left, (row + 0.5) * step, colour, align="left", bold=flagged))
    return layers


def _across(evidence: Dots, place: list[int], frame: Frame) -> list[tuple[int, float]]:
    """The row of each dot, and where in it, px from the left of the plot."""
    domain = domain_of(evidence)
    shown = [(dot.value, row) for dot, row in zip(evidence.dots, place, strict=True)]
    return [(row, frame.width * _share(x, domain)) for x, row in shown if x is not None and drawable(x, evidence.log)]


def _share(x: float, domain: Domain) -> float:
    """Where a value stands on the axis, from 0 at its left end to 1; a range without zero is that of a log axis."""
    low, high = domain
    return math.log(x / low) / math.log(high / low) if low > 0 else (x - low) / (high - low)


@dataclass(frozen=True)
class DotsChart:
    """A mark for each tensor, in rows."""

    evidence: Dots

    def frame(self, *, narrow: bool) -> Frame:
        """The frame: one line for each block, and a margin that holds their labels."""
        rows, _ = bands(self.evidence.dots)
        left = min(124 if narrow else 170, round(16 + max(map(text_width, rows), default=0)))
        return frame(max(3, len(rows)) * (17 if narrow else 20), narrow=narrow, left=left, right=18 if narrow else 112)

    def draw(self, frame: Frame) -> altair.LayerChart:
        """The chart."""
        evidence = self.evidence
        rows, place = bands(evidence.dots)
        domain = domain_of(evidence)
        step = frame.height / max(1, len(rows))
        axis = axis_of(
            power_format(*domain) if evidence.log else number_format(*domain),
            title=truncate(evidence.x_label, frame.width),
            tickCount=frame.ticks,
            values=decades(*domain, most=frame.ticks) if evidence.log else altair.Undefined,
        )
        scale = altair.Scale(type="log" if evidence.log else "linear", domain=list(domain), nice=False, zero=False)

        def x_of(field: str = "x") -> altair.X:
            return altair.X(f"{field}:Q", scale=scale, axis=axis)

        y = altair.Y("y:Q", scale=altair.Scale(domain=[frame.height, 0], nice=False), axis=None)
        layers: list[Part] = [chart([]).mark_point().encode(x=x_of(), y=y)]
        if evidence.log:
            every = decades(*domain, most=1000)
            shaded = [{"x": a, "x2": b} for a, b in list(pairwise(every))[::2]]
            layers.append(chart(shaded).mark_rect(color=GRID, opacity=0.55).encode(x=x_of(), x2="x2"))
        for mark in evidence.marks:
            if mark.x is not None and domain[0] <= mark.x <= domain[1]:
                layers += _mark(
                    mark.label, mark.x, MUTED if mark.role == "reference" else CRITICAL, frame, domain, x_of()
                )
        points = []
        for dot, row in zip(evidence.dots, place, strict=True):
            if dot.value is not None and math.isfinite(dot.value) and (dot.value > 0 or not evidence.log):
                points.append((dot, (row + 0.5) * step))
        layers += _stems(evidence, points, rows, x_of, y)
        for group, (colour, symbol) in KINDS.items():
            members = [{"x": dot.value, "y": down} for dot, down in points if kind(dot) == group]
            if members:
                mark_point = chart(members).mark_point(color=colour, shape=symbol, filled=True, size=38, opacity=0.9)
                layers.append(mark_point.encode(x=x_of(), y=y))
        ringed = [(dot, down) for dot, down in points if dot.flagged]
        if ringed:
            ring = chart({"x": dot.value, "y": down} for dot, down in ringed)
            layers.append(ring.mark_point(color=CRITICAL, size=150, strokeWidth=1.6, opacity=1).encode(x=x_of(), y=y))
        layers += _rows(rows, step, frame)
        layers += _without_place(evidence, place, step, frame)
        return layered(layers)

    def tooltip(self) -> str:
        """The name and the value of each dot, and where it stands in the plot, across and down, from 0 to 1."""
        evidence = self.evidence
        rows, place = bands(evidence.dots)
        domain = domain_of(evidence)
        spots = []
        for dot, row in zip(evidence.dots, place, strict=True):
            if dot.value is not None and drawable(dot.value, evidence.log):
                across, down = _share(dot.value, domain), (row + 0.5) / len(rows)
                spots.append([round(across, 3), round(down, 3), name(dot.label), quantity(dot.value)])
        frames = {size: self.frame(narrow=narrow) for size, narrow in tooltips.SIZES}
        # What is nearest is judged in px of the wide picture.
        near = frames["wide"].width, frames["wide"].height
        return tooltips.spots(spots, evidence.x_label.partition(",")[0], near, frames)

    def table(self) -> TableView:
        """A row for each tensor, those of a finding first; none where every value is exactly zero."""
        order = sorted(self.evidence.dots, key=lambda dot: not dot.flagged)
        rows = [(name(dot.label), dot.group, quantity(dot.value)) for dot in order]
        all_zero = self.placeholder() == ALL_ZERO  # rows of zeros would say it again
        return number_table(("tensor", "kind", self.evidence.x_label), [] if all_zero else rows)

    def legend(self) -> Legend:
        """The kinds of tensors, where there are several."""
        present = {kind(dot) for dot in self.evidence.dots}
        shown = [LegendEntry(one, colour, "", symbol) for one, (colour, symbol) in KINDS.items() if one in present]
        return Legend(tuple(shown)) if len(shown) > 1 else Legend()

    def placeholder(self) -> str:
        """What the values are where no tensor has a place on the axis."""
        evidence = self.evidence
        if not evidence.dots:
            return "There is no value to draw."
        if any(drawable(dot.value, evidence.log) for dot in evidence.dots):
            return ""
        zeros = sum(dot.value is not None and math.isfinite(dot.value) for dot in evidence.dots)
        zero = "exactly 0" if all(not dot.value for dot in evidence.dots) else "0 or below"
        if zeros == len(evidence.dots):
            return f"Every value is {zero}."
        unknown = f"{len(evidence.dots) - zeros} of {plural(len(evidence.dots), 'tensor')} without a finite value"
        return f"{unknown}; every other one is {zero}." if zeros else "No tensor has a finite value."
