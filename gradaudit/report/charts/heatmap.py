"""Draws `Heatmap` panels: each a picture of one pixel a cell, stretched by the chart that surrounds it."""

import base64
import math
import struct
import zlib
from dataclasses import dataclass
from itertools import groupby

import altair
import numpy

from gradaudit.findings import Heatmap
from gradaudit.report.charts.marks import (
    Domain,
    Part,
    chart,
    fitting,
    layered,
    pixels,
    telling,
    telling_apart,
    text,
    wide,
    x_axis,
)
from gradaudit.report.charts.theme import AXIS, BOLD, CRITICAL, GRID, MUTED, Frame, frame
from gradaudit.report.text import name

# Anchors of viridis (matplotlib, CC0). White is the colour farthest from all of them in every colour
# vision deficiency, so "exactly zero" is white; red tells "not finite".
VIRIDIS = (
    (68, 1, 84), (72, 36, 117), (65, 68, 135), (53, 95, 141), (42, 120, 142), (33, 145, 140),
    (34, 168, 132), (68, 191, 112), (122, 209, 81), (189, 223, 38), (253, 231, 37),
)  # fmt: skip
SHADES = 240
ABSENT, ZERO, BAD, FIRST_SHADE = 0, 1, 2, 3  # palette indices
ZERO_COLOUR, BAD_COLOUR, EMPTY_COLOUR = "#ffffff", "#d62728", GRID
ZERO_WORDS, BAD_WORDS = "exactly zero, or no gradient", "NaN or Inf"
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


def palette() -> list[tuple[int, int, int]]:
    """Colours by palette index."""
    anchors = numpy.asarray(VIRIDIS, dtype=float)
    place = numpy.linspace(0, len(anchors) - 1, SHADES)
    shades = numpy.stack([numpy.interp(place, range(len(anchors)), channel) for channel in anchors.T], axis=1)
    colours = [(int(r), int(g), int(b)) for r, g, b in shades.round()]
    return [(255, 255, 255), (255, 255, 255), (214, 39, 40), *colours]


def scale_of(heatmaps: list[Heatmap]) -> Domain:
    """The log10 range of the colours: whole decades around all but the outermost half per cent."""
    values = [v for heatmap in heatmaps for row in heatmap.values for v in row if v is not None and math.isfinite(v)]
    if not values:
        return (-1.0, 0.0)
    low, high = numpy.percentile(values, [0.5, 99.5])
    first = math.floor(low)
    return (float(first), float(max(math.ceil(high), first + 1)))


def png(heatmap: Heatmap, scale: Domain) -> str:
    """The cells as the data URI of an 8-bit palette PNG; the script of the page reads its palette indices."""
    rows, columns = len(heatmap.rows), max(map(len, heatmap.values), default=0)
    cells = numpy.full((rows, columns), numpy.nan)
    for i, values in enumerate(heatmap.values):
        cells[i, : len(values)] = [numpy.nan if v is None else v for v in values]
    low, high = scale
    shade = numpy.clip(numpy.nan_to_num((cells - low) / (high - low)), 0, 1) * (SHADES - 1)
    index = numpy.where(numpy.isfinite(cells), shade.round() + FIRST_SHADE, ABSENT).astype(numpy.uint8)
    for mark, marked in ((ZERO, heatmap.zero), (BAD, heatmap.bad)):
        for i, places in enumerate(marked[:rows]):
            index[i, [place for place in places if 0 <= place < columns]] = mark

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + line.tobytes() for line in index)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0))
    data += chunk(b"PLTE", bytes(value for colour in palette() for value in colour)) + chunk(b"tRNS", b"\0")
    data += chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode()


def special(heatmaps: list[Heatmap]) -> tuple[tuple[str, str], ...]:
    """The colours of cells without a place on the scale, as far as there are such cells, and what they mean."""
    found = []
    if any(any(heatmap.zero) for heatmap in heatmaps):
        found.append((ZERO_COLOUR, ZERO_WORDS))
    if any(any(heatmap.bad) for heatmap in heatmaps):
        found.append((BAD_COLOUR, BAD_WORDS))
    empty = dict.fromkeys(heatmap.empty for heatmap in heatmaps if _has_empty(heatmap))
    return (*found, *((EMPTY_COLOUR, name(words)) for words in empty))


def _has_empty(heatmap: Heatmap) -> bool:
    columns = max(map(len, heatmap.values), default=0)
    for row, values in enumerate(heatmap.values):
        told = {*(heatmap.zero[row] if row < len(heatmap.zero) else ())}
        told |= {*(heatmap.bad[row] if row < len(heatmap.bad) else ())}
        if len(values) < columns or any(value is None and i not in told for i, value in enumerate(values)):
            return True
    return False


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


def shape(heatmaps: list[Heatmap], *, narrow: bool) -> Frame:
    """The frame: as high as the panels, with a margin that holds the labels of the blocks."""
    last = panels(heatmaps, narrow=narrow)[-1]
    shown = [label for panel in panels(heatmaps, narrow=narrow) for label in _labels(panel)]
    labels = [wide(name(label)) for label in shown]
    left = min(124 if narrow else 200, max(round(16 + max(labels, default=0)), 40))
    return frame(math.ceil(last.top + last.height), narrow=narrow, left=left, right=18 if narrow else 112)


def draw(heatmaps: list[Heatmap], frame: Frame) -> altair.LayerChart:
    """The chart: one panel under the other over the same steps."""
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
                text(
                    fitting(heatmap.title, frame.width, bold=True),
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
    shown = dict(zip(labels, telling_apart(labels, frame.left - 12), strict=True))
    for label, members in groupby(labels):
        count = len(list(members))
        middle = panel.top + (row + count / 2) * panel.row
        if row:
            rules.append({"y": panel.top + row * panel.row})
        if middle - written >= 11:
            layers.append(text(shown[label], -8, middle, align="right", baseline="middle"))
            written = middle
        row += count
    rule = chart(rules).mark_rule(color="#ffffff", opacity=0.28).encode(y=pixels("y", frame.height))
    return [rule, *layers]


def _named(panel: Panel, frame: Frame) -> list[Part]:
    """What is wrong with flagged rows, at the right edge."""
    layers: list[Part] = []
    for label, middle, wrong in _flagged(panel):
        words = wrong or ("in a finding" if _labels(panel) is panel.heatmap.rows else name(label))
        shown = f"◂ {telling(words, frame.right - 10 - wide('◂ ', bold=True) - wide(words) * (BOLD - 1))}"
        colour = CRITICAL if wrong else MUTED
        layers.append(text(shown, frame.width + 6, middle, colour, align="left", baseline="middle", bold=True))
    return layers


def _pointed(panel: Panel, frame: Frame) -> list[Part]:
    """The same where the margin has room for a mark alone: the words stand once, over the panel."""
    layers: list[Part] = []
    said = []
    for _, middle, wrong in _flagged(panel):
        colour = CRITICAL if wrong else MUTED
        layers.append(text("◂", frame.width + 4, middle, colour, align="left", baseline="middle", bold=True))
        said.append(wrong or "in a finding")
    if said:
        words = fitting("◂ " + ", ".join(dict.fromkeys(said)), frame.width * 0.55)
        colour = CRITICAL if set(said) - {"in a finding"} else MUTED
        layers.append(text(words, frame.width + 12, panel.top - 8, colour, align="right", baseline="middle"))
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
