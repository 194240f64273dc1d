"""Draws `Ridges`: one distribution above the other on a common axis of powers, zones of it shaded."""

import math
from dataclasses import dataclass

import altair

from gradaudit.chart_data import Ridge, Ridges
from gradaudit.report.charts import tooltips
from gradaudit.report.charts.primitives import (
    Domain,
    Label,
    Part,
    abbreviate,
    axis_of,
    chart,
    decades,
    layered,
    power_format,
    text_width,
    truncate,
)
from gradaudit.report.charts.tables import number_table
from gradaudit.report.charts.theme import BAND, BLUE, CRITICAL, GRID, MUTED, ORANGE, Frame, frame
from gradaudit.report.model import Legend, TableView
from gradaudit.report.text import name, quantity

LEAST = 2e-3  # of the peak: less is thinner than the line
OVERLAP = 1.7  # how far a ridge may rise, in rows
ZONES = {"lost": CRITICAL, "weak": ORANGE}
REMARK = 128  # px right of the plot


def domain_of(evidence: Ridges) -> Domain:
    """The range of x as values, not exponents."""
    bins = max((len(ridge.shares) for ridge in evidence.ridges), default=1)
    return (2.0**evidence.first, 2.0 ** (evidence.first + bins * evidence.width))


def middle(row: int, rows: int) -> float:
    """Where a ridge stands, from 0 at the top of the plot to 1."""
    return (row + OVERLAP - 1 / 5) / (rows + OVERLAP - 1)


def _step(narrow: bool) -> int:
    return 20 if narrow else 24


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


@dataclass(frozen=True)
class RidgesChart:
    """Distributions one below the other."""

    evidence: Ridges

    def frame(self, *, narrow: bool) -> Frame:
        """The frame: a row for each ridge, and room above the first one."""
        rows = max(1, len(self.evidence.ridges))
        left = min(
            110 if narrow else 170,
            round(16 + max((text_width(ridge.label) for ridge in self.evidence.ridges), default=0)),
        )
        height = round((rows + OVERLAP - 1) * _step(narrow))
        return frame(height, narrow=narrow, left=left, right=18 if narrow else REMARK)

    def draw(self, frame: Frame) -> altair.LayerChart:
        """The chart."""
        evidence = self.evidence
        low, high = domain_of(evidence)
        step = _step(frame.narrow)
        ticks = decades(low, high, most=frame.ticks)
        axis = axis_of(power_format(low, high), title=truncate(evidence.x_label, frame.width), values=ticks)
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
            if right - left >= text_width(zone.label):
                layers.append(Label(zone.label, (left + right) / 2, -9, colour, baseline="middle"))
        bases = [{"x": low, "x2": high, "y": (row + OVERLAP) * step} for row in range(len(evidence.ridges))]
        layers.append(chart(bases).mark_rule(color=GRID, strokeWidth=1).encode(x=x, x2="x2", y=y))
        for row, ridge in enumerate(evidence.ridges):
            base = (row + OVERLAP) * step
            top = max(ridge.shares, default=0.0) or 1.0
            rise = OVERLAP * step * 0.94 / top
            points = [
                {"x": 2.0 ** (evidence.first + (i + 0.5) * evidence.width), "y": base - share * rise, "y2": base}
                for i, share in enumerate(ridge.shares)
                # Long flat tails are the better part of the file and none of the picture.
                if max(ridge.shares[max(0, i - 1) : i + 2]) > top * LEAST
            ]
            colour = CRITICAL if ridge.flagged else BLUE
            area = chart(points).mark_area(color=BAND, opacity=0.75, line={"color": colour, "strokeWidth": 1.2})
            layers.append(area.encode(x=x, y=y, y2="y2"))
            half = base - step / 5
            layers.append(Label(abbreviate(name(ridge.label), frame.left - 14), -8, half, MUTED, align="right"))
            if ridge.remark and not frame.narrow:
                words = truncate(ridge.remark, frame.right - 10)
                layers.append(Label(words, frame.width + 6, half, CRITICAL if ridge.flagged else MUTED, align="left"))
        return layered(layers)

    def tooltip(self) -> str:
        """The label and remark of each ridge, and thousandths of its values in each bin."""
        evidence = self.evidence
        most = max((len(ridge.shares) for ridge in evidence.ridges), default=0)
        spots = []
        for row, ridge in enumerate(evidence.ridges):
            whole = sum(ridge.shares) or 1.0
            shares = [tooltips.finite(round(1000 * share / whole, 1)) for share in ridge.shares]
            words = name(ridge.label) + (f"\n{name(ridge.remark)}" if ridge.remark else "")
            shares += [0] * (most - len(shares))
            spots.append([0, round(middle(row, len(evidence.ridges)), 3), words, shares])
        frames = {size: self.frame(narrow=narrow) for size, narrow in tooltips.SIZES}
        scale = {"first": evidence.first, "width": evidence.width}
        return tooltips.spots(spots, evidence.x_label, (0, 1), frames, **scale)

    def table(self) -> TableView:
        """Three quantiles of each distribution."""
        ridges = self.evidence.ridges
        remarked = any(one.remark for one in ridges)
        head = ("block", "1 % are below", "half are below", "99 % are below", *(("remark",) if remarked else ()))
        return number_table(head, [(name(one.label), *_quantiles(self.evidence, one), one.remark) for one in ridges])

    def legend(self) -> Legend:
        """Nothing: each ridge has its label."""
        return Legend()

    def placeholder(self) -> str:
        """Nothing: a ridge of no height is drawn, too."""
        return ""
