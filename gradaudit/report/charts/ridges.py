"""Draws `Ridges`: one distribution above the other on a common axis of powers, zones of it shaded."""

import math

import altair

from gradaudit.findings import Ridges
from gradaudit.report.charts.marks import (
    Domain,
    Part,
    axis_of,
    chart,
    decades,
    fitting,
    layered,
    power_format,
    telling,
    text,
    wide,
)
from gradaudit.report.charts.theme import BAND, BLUE, CRITICAL, GRID, MUTED, ORANGE, Frame, frame
from gradaudit.report.text import name

LEAST = 2e-3  # of the peak: less is thinner than the line
OVERLAP = 1.7  # how far a ridge may rise, in rows
ZONES = {"lost": CRITICAL, "weak": ORANGE}
REMARK = 128  # px right of the plot


def shape(evidence: Ridges, *, narrow: bool) -> Frame:
    """The frame: a row for each ridge, and room above the first one."""
    rows = max(1, len(evidence.ridges))
    left = min(110 if narrow else 170, round(16 + max((wide(ridge.label) for ridge in evidence.ridges), default=0)))
    height = round((rows + OVERLAP - 1) * _step(narrow))
    return frame(height, narrow=narrow, left=left, right=18 if narrow else REMARK)


def domain_of(evidence: Ridges) -> Domain:
    """The range of x as values, not exponents."""
    bins = max((len(ridge.shares) for ridge in evidence.ridges), default=1)
    return (2.0**evidence.first, 2.0 ** (evidence.first + bins * evidence.width))


def middle(row: int, rows: int) -> float:
    """Where a ridge stands, from 0 at the top of the plot to 1."""
    return (row + OVERLAP - 1 / 5) / (rows + OVERLAP - 1)


def draw(evidence: Ridges, frame: Frame) -> altair.LayerChart:
    """The chart."""
    low, high = domain_of(evidence)
    step = _step(frame.narrow)
    ticks = decades(low, high, most=frame.ticks)
    axis = axis_of(power_format(low, high), title=fitting(evidence.x_label, frame.width), values=ticks)
    x = altair.X("x:Q", scale=altair.Scale(type="log", domain=[low, high], nice=False), axis=axis)
    y = altair.Y("y:Q", scale=altair.Scale(domain=[frame.height, 0], nice=False), axis=None)
    layers: list[Part] = [chart([]).mark_point().encode(x=x, y=y)]
    for zone in evidence.zones:
        start = low if zone.start is None else max(low, 2.0**zone.start)
        end = high if zone.end is None else min(high, 2.0**zone.end)
        if start >= end:
            continue
        colour = ZONES.get(zone.role, MUTED)
        rows = [{"x": start, "x2": end, "y": 0, "y2": frame.height}]
        layers.append(chart(rows).mark_rect(color=colour, opacity=0.09).encode(x=x, x2="x2", y=y, y2="y2"))
        left, right = (frame.width * math.log(edge / low) / math.log(high / low) for edge in (start, end))
        if right - left >= wide(zone.label):
            layers.append(text(zone.label, (left + right) / 2, -9, colour, baseline="middle"))
    bases = [{"x": low, "x2": high, "y": (row + OVERLAP) * step} for row in range(len(evidence.ridges))]
    layers.append(chart(bases).mark_rule(color=GRID, strokeWidth=1).encode(x=x, x2="x2", y=y))
    for row, ridge in enumerate(evidence.ridges):
        base = (row + OVERLAP) * step
        top = max(ridge.shares, default=0.0) or 1.0
        points = [
            {"x": 2.0 ** (evidence.first + (i + 0.5) * evidence.width), "y": base - share / top * OVERLAP * step * 0.94,
             "y2": base}
            for i, share in enumerate(ridge.shares)
            # Long flat tails are the better part of the file and none of the picture.
            if max(ridge.shares[max(0, i - 1) : i + 2]) > top * LEAST
        ]  # fmt: skip
        colour = CRITICAL if ridge.flagged else BLUE
        area = chart(points).mark_area(color=BAND, opacity=0.75, line={"color": colour, "strokeWidth": 1.2})
        layers.append(area.encode(x=x, y=y, y2="y2"))
        half = base - step / 5
        layers.append(text(telling(name(ridge.label), frame.left - 14), -8, half, MUTED, align="right"))
        if ridge.remark and not frame.narrow:
            words = fitting(ridge.remark, frame.right - 10)
            layers.append(text(words, frame.width + 6, half, CRITICAL if ridge.flagged else MUTED, align="left"))
    return layered(layers)


def _step(narrow: bool) -> int:
    return 20 if narrow else 24
