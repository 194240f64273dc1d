"""Draws `Heatmap` panels: each a picture of one pixel a cell, stretched by the chart that surrounds it."""

import math
from dataclasses import dataclass
from itertools import groupby

import altair

from gradaudit.chart_data import Heatmap
from gradaudit.report.charts import tooltips
from gradaudit.report.charts.heatmap_cells import (
    BAD_WORDS,
    EMPTY_COLOUR,
    SHADES,
    ZERO_WORDS,
    colour_scale,
    png,
    scale_of,
)
from gradaudit.report.charts.primitives import (
    Label,
    Part,
    abbreviate,
    abbreviate_all,
    chart,
    layered,
    pixels,
    text_width,
    truncate,
    x_axis,
)
from gradaudit.report.charts.tables import number_table
from gradaudit.report.charts.theme import AXIS, BOLD, CRITICAL, MUTED, Frame, frame
from gradaudit.report.model import Legend, TableView
from gradaudit.report.text import name, quantity

GAP = 22  # px between two panels
MOST_NAMED = 24
FEW, NAMED_ROW = 30, 12  # so many rows are made so high, px, that each of them has room for its name


@dataclass(frozen=True)
class Panel:
    """One heatmap's place in the chart, px from the top of the plot."""

    heatmap: Heatmap
    top: float
    row: float  # px of one row

    @property
    def height(self) -> float:
        """px of the whole panel."""
        return self.row * len(self.heatmap.rows)


def panels(heatmaps: list[Heatmap], *, narrow: bool) -> list[Panel]:
    """Where each heatmap stands: rows as high as leaves the picture on one screen."""
    found: list[Panel] = []
    top = 0.0
    for index, heatmap in enumerate(heatmaps):
        rows = max(1, len(heatmap.rows))
        goal = (300, 220)[min(index, 1)] * (0.75 if narrow else 1)
        least = NAMED_ROW if rows <= FEW and named_rows(heatmap) else 2.0
        row = min(15, max(least, round(goal / rows, 1)))
        found.append(Panel(heatmap, top, row))
        top += found[-1].height + GAP
    return found


def named_rows(heatmap: Heatmap) -> bool:
    """Whether its rows have names, and are no places of a scale."""
    return not any(row.replace("e", "").replace("-", "").replace(".", "").isdigit() for row in heatmap.rows)


def _labels(panel: Panel) -> list[str]:
    """What stands beside each row: its own name where it has the room, else that of its block."""
    if panel.row >= NAMED_ROW and named_rows(panel.heatmap):
        return panel.heatmap.rows
    return panel.heatmap.groups


def _groups(panel: Panel, frame: Frame) -> list[Part]:
    """The label of each row or block in the left margin, where there is room, and a thin line between them."""
    layers: list[Part] = []
    rules = []
    row, written = 0, -99.0
    labels = [name(label) for label in _labels(panel)]
    shown = dict(zip(labels, abbreviate_all(labels, frame.left - 12), strict=True))
    for label, members in groupby(labels):
        count = len(list(members))
        middle = panel.top + (row + count / 2) * panel.row
        if row:
            rules.append({"y": panel.top + row * panel.row})
        if middle - written >= 11:
            layers.append(Label(shown[label], -8, middle, align="right", baseline="middle"))
            written = middle
        row += count
    rule = chart(rules).mark_rule(color="#ffffff", opacity=0.28).encode(y=pixels("y", frame.height))
    return [rule, *layers]


def _named(panel: Panel, frame: Frame) -> list[Part]:
    """What is wrong with flagged rows, at the right edge."""
    layers: list[Part] = []
    for label, middle, wrong in _flagged(panel):
        words = wrong or ("in a finding" if _labels(panel) is panel.heatmap.rows else name(label))
        shown = (
            f"◂ {abbreviate(words, frame.right - 10 - text_width('◂ ', bold=True) - text_width(words) * (BOLD - 1))}"
        )
        colour = CRITICAL if wrong else MUTED
        layers.append(Label(shown, frame.width + 6, middle, colour, align="left", baseline="middle", bold=True))
    return layers


def _pointed(panel: Panel, frame: Frame) -> list[Part]:
    """The same where the margin has room for a mark alone: the words stand once, over the panel."""
    layers: list[Part] = []
    said = []
    for _, middle, wrong in _flagged(panel):
        colour = CRITICAL if wrong else MUTED
        layers.append(Label("◂", frame.width + 4, middle, colour, align="left", baseline="middle", bold=True))
        said.append(wrong or "in a finding")
    if said:
        words = truncate("◂ " + ", ".join(dict.fromkeys(said)), frame.width * 0.55)
        colour = CRITICAL if set(said) - {"in a finding"} else MUTED
        layers.append(Label(words, frame.width + 12, panel.top - 8, colour, align="right", baseline="middle"))
    return layers


def _flagged(panel: Panel) -> list[tuple[str, float, str]]:
    """Flagged rows that can be labelled without touching: the name, the middle in px, and what is wrong in words."""
    found: list[tuple[str, float, str]] = []
    columns = max(map(len, panel.heatmap.values), default=0)
    wanted = set(panel.heatmap.flagged)
    for row, label in enumerate(panel.heatmap.rows):
        middle = panel.top + (row + 0.5) * panel.row
        if label not in wanted or (found and middle - found[-1][1] < 12) or len(found) >= MOST_NAMED:
            continue
        zeros = len(panel.heatmap.zero[row]) if row < len(panel.heatmap.zero) else 0
        bads = len(panel.heatmap.bad[row]) if row < len(panel.heatmap.bad) else 0
        wrong = "no gradient" if zeros and zeros >= columns / 2 else "NaN or Inf" if bads else ""
        found.append((label, middle, wrong))
    return found


def _median(heatmap: Heatmap, rows: range, columns: range) -> float | None:
    """The median of a patch, turned back from log10."""
    cells = sorted(
        value for i in rows for value in heatmap.values[i][columns.start : columns.stop] if value is not None
    )
    return float(10 ** cells[len(cells) // 2]) if cells else None


@dataclass(frozen=True)
class HeatmapChart:
    """Heatmaps over the same steps, one under the other, in one colour scale."""

    heatmaps: list[Heatmap]

    def frame(self, *, narrow: bool) -> Frame:
        """The frame: as high as the panels, with a margin that holds the labels of the blocks."""
        heatmaps = self.heatmaps
        last = panels(heatmaps, narrow=narrow)[-1]
        shown = [label for panel in panels(heatmaps, narrow=narrow) for label in _labels(panel)]
        labels = [text_width(name(label)) for label in shown]
        left = min(124 if narrow else 200, max(round(16 + max(labels, default=0)), 40))
        return frame(math.ceil(last.top + last.height), narrow=narrow, left=left, right=18 if narrow else 112)

    def draw(self, frame: Frame) -> altair.LayerChart:
        """The chart: one panel under the other over the same steps."""
        heatmaps = self.heatmaps
        scale = scale_of(heatmaps)
        first = min(heatmap.first_step for heatmap in heatmaps)
        last = max(heatmap.last_step for heatmap in heatmaps)
        domain = (float(first), float(max(last, first + 1)))
        y = pixels("y", frame.height)
        layers: list[Part] = []
        for panel in panels(heatmaps, narrow=frame.narrow):
            heatmap = panel.heatmap
            place = {
                "x": heatmap.first_step, "x2": max(heatmap.last_step, heatmap.first_step + 1),
                "y": panel.top, "y2": panel.top + panel.height,
            }  # fmt: skip
            # What shows through where nothing is known: a grey that is no colour of the scale.
            ground = chart([place]).mark_rect(fill=EMPTY_COLOUR, stroke=None)
            layers.append(ground.encode(x=x_axis("x", domain, frame, "step"), x2="x2", y=y, y2="y2"))
            image = chart([place]).mark_image(url=png(heatmap, scale), aspect=False)
            layers.append(image.encode(x=x_axis("x", domain, frame, "step"), x2="x2", y=y, y2="y2"))
            # A row of exact zeros is as white as the page: the outline shows that it is there.
            outline = chart([place]).mark_rect(fill=None, stroke=AXIS, strokeWidth=1)
            layers.append(outline.encode(x=x_axis("x", domain, frame, "step"), x2="x2", y=y, y2="y2"))
            if len(heatmaps) > 1:
                layers.append(
                    Label(
                        truncate(heatmap.title, frame.width, bold=True),
                        0,
                        panel.top - 8,
                        align="left",
                        baseline="middle",
                        bold=True,
                    )
                )
            layers += _groups(panel, frame)
            layers += _pointed(panel, frame) if frame.narrow else _named(panel, frame)
        return layered(layers)

    def tooltip(self) -> str:
        """The names of the rows, what the numbers of the pictures' pixels mean, and where each panel stands.

        Such a number is the place of its words, or behind those the place of a value on the scale.
        """
        heatmaps = self.heatmaps
        places = {
            size: {
                "frame": tooltips.box(self.frame(narrow=narrow)),
                "panels": [[one.top, one.row, len(one.heatmap.rows)] for one in panels(heatmaps, narrow=narrow)],
            }
            for size, narrow in tooltips.SIZES
        }
        first, last = min(one.first_step for one in heatmaps), max(one.last_step for one in heatmaps)
        rows = [[name(row) for row in one.rows] for one in heatmaps]
        facts = {"label": "step", "x": (first, max(last, first + 1)), "unit": name(heatmaps[0].unit)}
        words = [name(heatmaps[0].empty), ZERO_WORDS, BAD_WORDS]  # by palette index
        values = {"range": scale_of(heatmaps), "shades": SHADES, "words": words}
        return tooltips.encoded({**facts, **values, "rows": rows, **places})

    def table(self) -> TableView:
        """Each block's median cell at the start, in the middle and at the end, and how many cells are special."""
        rows = []
        for heatmap in self.heatmaps:
            columns = max(map(len, heatmap.values), default=0)
            thirds = [range(0, max(1, columns // 10)), range(columns * 9 // 20, max(columns * 11 // 20, 1))]
            thirds.append(range(columns - max(1, columns // 10), columns))
            start = 0
            for label, members in groupby(heatmap.groups):
                stop = start + len(list(members))
                cells = [quantity(_median(heatmap, range(start, stop), part)) for part in thirds]
                special = [f"{sum(map(len, part[start:stop])):,}" for part in (heatmap.zero, heatmap.bad)]
                prefix = f"{heatmap.title}: " if len(self.heatmaps) > 1 else ""
                rows.append((name(f"{prefix}{label}"), *cells, *special))
                start = stop
        return number_table(("block", "first tenth", "middle", "last tenth", "zero cells", "NaN or Inf cells"), rows)

    def legend(self) -> Legend:
        """The colour scale."""
        return Legend(scale=colour_scale(self.heatmaps))

    def placeholder(self) -> str:
        """Nothing: cells without a value have a colour, too."""
        return ""
