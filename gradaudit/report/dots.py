"""Draws `Dots`: one mark for each tensor, blocks of the model from top to bottom, decades shaded."""

import math
from collections.abc import Callable
from itertools import groupby, pairwise

import altair

from gradaudit.derived.reduce import blocks
from gradaudit.findings import Dot, Dots
from gradaudit.report.marks import (
    Domain,
    Part,
    around,
    chart,
    decades,
    fitting,
    layered,
    number_format,
    power_format,
    text,
    wide,
)
from gradaudit.report.text import name
from gradaudit.report.theme import AXIS, BAND, BLUE, CRITICAL, GREEN, GRID, MUTED, ORANGE, PINK, Frame, frame

KINDS = {
    "weight": (BLUE, "circle"),
    "bias": (ORANGE, "square"),
    "norm": (GREEN, "triangle-up"),
    "embedding": (PINK, "diamond"),
    "activation": (BLUE, "circle"),
    "other": (MUTED, "cross"),
}
MOST_NAMED = 4


def kind(dot: Dot) -> str:
    """The dot's group, "other" when it is none of ours."""
    return dot.group if dot.group in KINDS else "other"


def bands(dots: list[Dot]) -> tuple[list[str], list[int]]:
    """The labels of the rows from top to bottom, and the row of each dot."""
    labels = blocks([dot.label for dot in dots])
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


def shape(evidence: Dots, *, narrow: bool) -> Frame:
    """The frame: one line for each block, and a margin that holds their labels."""
    rows, _ = bands(evidence.dots)
    left = min(110 if narrow else 170, round(16 + max(map(wide, rows), default=0)))
    return frame(max(3, len(rows)) * (17 if narrow else 20), narrow=narrow, left=left, right=18 if narrow else 112)


def draw(evidence: Dots, frame: Frame) -> altair.LayerChart:
    """The chart."""
    rows, place = bands(evidence.dots)
    domain = domain_of(evidence)
    step = frame.height / max(1, len(rows))
    axis = altair.Axis(
        title=fitting(evidence.x_label, frame.width),
        tickCount=frame.ticks,
        format=power_format(*domain) if evidence.log else number_format(*domain),
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
            layers += _mark(mark.label, mark.x, MUTED if mark.role == "reference" else CRITICAL, frame, domain, x_of())
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
    layers += _zeros(evidence, place, step, frame)
    return layered(layers)


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
    low, high = domain
    share = math.log(x / low) / math.log(high / low) if low > 0 else (x - low) / (high - low)
    align = "right" if share > 0.7 else "left" if share < 0.3 else "center"
    words = text(fitting(label, frame.width * 0.7), frame.width * share, -9, colour, align=align, baseline="middle")
    return [rule, words]


def _rows(rows: list[str], step: float, frame: Frame) -> list[Part]:
    labels = [
        text(fitting(label, frame.left - 14), -8, (row + 0.5) * step, MUTED, align="right", baseline="middle")
        for row, label in enumerate(rows)
    ]
    rule = chart([{"y": frame.height}]).mark_rule(color=AXIS, opacity=0.4)
    scale = altair.Scale(domain=[frame.height, 0], nice=False)
    return [*labels, rule.encode(y=altair.Y("y:Q", scale=scale, axis=None))]


def _zeros(evidence: Dots, place: list[int], step: float, frame: Frame) -> list[Part]:
    """Flagged tensors that have no place on the axis, named in words at its left end."""
    missing = [
        (dot, row)
        for dot, row in zip(evidence.dots, place, strict=True)
        if dot.flagged and (dot.value is None or (evidence.log and dot.value <= 0))
    ]
    layers: list[Part] = []
    for dot, row in missing[:MOST_NAMED]:
        words = f"◂ {'zero' if dot.value == 0 else 'no value'}: {name(dot.label).rpartition('.')[2]}"
        words = fitting(words, frame.width / 2)
        layers.append(text(words, 2, (row + 0.5) * step, CRITICAL, align="left", bold=True))
    return layers
