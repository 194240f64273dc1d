"""Draws the marks of `Lines`: straight lines across the plot, and labels that cover no data where there is room."""

import re

from gradaudit.chart_data import Mark
from gradaudit.report.charts.plot_area import ABOVE, PlotArea
from gradaudit.report.charts.primitives import Part, chart, drawable, signed, text_width, truncate
from gradaudit.report.charts.theme import CRITICAL, MUTED, ORANGE
from gradaudit.report.text import name

COLOURS = {"threshold": CRITICAL, "reference": MUTED, "best": ORANGE}
HEIGHTS = (0.34, 0.22, 0.5, 0.64, 0.1, 0.78, 0.92, 0.04, 0.28, 0.42, 0.57, 0.71, 0.85)  # of a label beside a mark
BESIDE = (7, 14, 22, 45)  # px from an upright line to its label
STRIDE = 12  # px between the places that are tried along a line
MARGIN = 8  # px of the right margin that words leave free
_NUMBER = re.compile(r"(?: =|:)? [−\d.,e]+$")

Spot = tuple[float, float]


def draw(marks: list[Mark], plot: PlotArea) -> list[Part]:
    """All lines; labels keep away from all of them."""
    inside = [mark for mark in marks if mark.x is not None and plot.x[0] <= mark.x <= plot.x[1]]
    level = [mark for mark in marks if mark.x is None and mark.y is not None and drawable(mark.y, plot.log)]
    plot.upright += [plot.across(mark.x) for mark in inside if mark.x is not None]
    plot.level += [plot.down(mark.y) for mark in level if mark.y is not None]
    parts: list[Part] = []
    for mark in level:
        parts += _level(mark, mark.y or 0.0, plot)
    for mark, across in zip(inside, list(plot.upright), strict=True):
        parts += _upright(mark, across, plot)
    return parts


def _wordings(mark: Mark, plot: PlotArea, room: float, *, bold: bool = False) -> list[str]:
    """The mark's label, then its first part, then that without its number: those that fit into `room` px."""
    whole = signed(name(mark.label))
    first = whole.partition(" · ")[0]
    some = [*([] if plot.frame.narrow else [whole]), first, _NUMBER.sub("", first)]
    found = [words for words in dict.fromkeys(some) if words and text_width(words, bold=bold) <= room]
    return found or [words for words in [truncate(first, room, bold=bold)] if words]


def _level(mark: Mark, y: float, plot: PlotArea) -> list[Part]:
    """A horizontal line; its label above or below it, right if nothing is there, else at the right edge."""
    colour = COLOURS.get(mark.role, MUTED)
    rule = chart([{"y": y}]).mark_rule(color=colour, strokeDash=[5, 4], strokeWidth=1.2).encode(y=plot.y_of())
    labels = _wordings(mark, plot, plot.frame.width - 4)
    if not labels:
        return [rule]
    top = plot.down(y)
    downs = [top + shift for shift in (-9, 10) if 0 < top + shift < plot.frame.height - 5]
    for words in labels:
        spot = plot.free(_along(text_width(words), downs, plot), text_width(words))
        if spot is not None:
            return [rule, *plot.write(words, [spot], colour)]
    at_edge = next((words for words in labels if text_width(words) <= plot.frame.right - MARGIN), "")
    if at_edge:
        plot.margin.append((top, at_edge, colour))
        return [rule]
    return [rule, *plot.write(labels[-1], _along(text_width(labels[-1]), downs, plot) or [(2.0, top - 9)], colour)]


def _along(size: float, downs: list[float], plot: PlotArea) -> list[Spot]:
    """Places along a horizontal line, from the right to the left."""
    most = plot.frame.width - 2 - size
    lefts = [most - STRIDE * i for i in range(int(max(0.0, most - 2) // STRIDE) + 1)]
    return [(left, down) for left in lefts for down in downs if left >= 0]


def _upright(mark: Mark, across: float, plot: PlotArea) -> list[Part]:
    """A vertical line, and a point where the mark has a height; its label stands beside it, or beside the point."""
    colour = COLOURS.get(mark.role, MUTED)
    rule = chart([{"x": mark.x}]).mark_rule(color=colour, strokeDash=[2, 3]).encode(x=plot.x_of())
    parts: list[Part] = [rule]
    dot: float | None = None
    if mark.y is not None and drawable(mark.y, plot.log):
        point = chart([{"x": mark.x, "y": mark.y}]).mark_point(color=colour, filled=True, size=55, opacity=1)
        parts.append(point.encode(x=plot.x_of(), y=plot.y_of()))
        dot = plot.down(mark.y)
    labels = _wordings(mark, plot, max(across, plot.frame.width - across) - BESIDE[0] - 1, bold=True)
    for words in labels:
        size = text_width(words, bold=True)
        spots = [*_beside(across, dot, size, plot), *_above(across, size, plot)]
        spot = plot.free(spots, size)
        if spot is not None:
            return [*parts, *plot.write(words, [spot], colour, bold=True)]
    if not labels:
        return parts
    spots = _beside(across, dot, text_width(labels[-1], bold=True), plot) or [(2.0, plot.frame.height * HEIGHTS[0])]
    return [*parts, *plot.write(labels[-1], spots, colour, bold=True)]


def _beside(across: float, dot: float | None, size: float, plot: PlotArea) -> list[Spot]:
    """Places beside a vertical line: those nearest to its point first, where it has one."""
    sides: list[float] = []
    for more in BESIDE:
        # Farther off where lines run close to the mark, unless another mark would come between.
        if more == BESIDE[0] or not any(0 < abs(place - across) < more for place in plot.upright):
            sides += [across - more - size, across + more]
    sides = [left for left in sides if 0 <= left <= plot.frame.width - size + 4]
    if dot is None:
        heights = [plot.frame.height * share for share in HEIGHTS]
        return [(left, height) for height in heights for left in sides]
    heights = [8.0 + 4 * i for i in range(max(1, int((plot.frame.height - 14) // 4)))]
    spots = [(left, height) for height in heights for left in sides]
    return sorted(spots, key=lambda spot: abs(spot[1] - dot) + 0.7 * _away(spot[0], size, across))


def _away(left: float, size: float, across: float) -> float:
    """px from a vertical line to the nearer end of words."""
    return left - across if left > across else across - left - size


def _above(across: float, size: float, plot: PlotArea) -> list[Spot]:
    """Places above the plot, over a vertical line."""
    lefts = [min(max(0.0, left), plot.frame.width - size) for left in (across - size / 2, across, across - size)]
    return [(left, ABOVE) for left in lefts]
