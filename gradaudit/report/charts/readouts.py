"""What the script of a page needs to say what is under the pointer; texts in it are shown as text only."""

import json
import math
from typing import Any

from gradaudit.findings import Distribution, Dots, Heatmap, Lines, Ridges
from gradaudit.report.charts import bars, dots, heatmap, lines, plane, ridges
from gradaudit.report.charts.marks import Domain
from gradaudit.report.charts.theme import Frame
from gradaudit.report.text import name, quantity

SIZES = (("wide", False), ("narrow", True))
MOST_SERIES = 6
LONGEST = 30_000  # characters; a chart without read-out still has its table of numbers


def of_lines(evidence: Lines, domain: Domain | None, height: int) -> str:
    """The points of each series, and where the plot stands in the wide and the narrow picture."""
    series = [
        {"name": name(one.name), "x": [_short(x) for x in one.x], "y": [_short(y) for y in one.y]}
        for one in evidence.series[:MOST_SERIES]
        if len(one.x) > 0
    ]
    if not series:
        return ""
    places = {size: {"frame": _place(lines.shape(height, narrow=narrow))} for size, narrow in SIZES}
    return _json(
        {
            "label": name(evidence.x_label),
            "x": [_short(x) for x in domain or plane.span(evidence)],
            "series": series,
            **places,
        }
    )


def of_heatmaps(panels: list[Heatmap]) -> str:
    """The names of the rows, what the numbers of the pictures' pixels mean, and where each panel stands.

    Such a number is the place of its words, or behind those the place of a value on the scale.
    """
    places = {
        size: {
            "frame": _place(heatmap.shape(panels, narrow=narrow)),
            "panels": [
                [panel.top, panel.row, len(panel.heatmap.rows)] for panel in heatmap.panels(panels, narrow=narrow)
            ],
        }
        for size, narrow in SIZES
    }
    first, last = min(panel.first_step for panel in panels), max(panel.last_step for panel in panels)
    rows = [[name(row) for row in panel.rows] for panel in panels]
    facts = {"label": "step", "x": (first, max(last, first + 1)), "unit": name(panels[0].unit)}
    words = [name(panels[0].empty), heatmap.ZERO_WORDS, heatmap.BAD_WORDS]  # by palette index
    values = {"range": heatmap.scale_of(panels), "shades": heatmap.SHADES, "words": words}
    return _json({**facts, **values, "rows": rows, **places})


def of_dots(evidence: Dots) -> str:
    """The name and the value of each dot, and where it stands in the plot, across and down, from 0 to 1."""
    rows, place = dots.bands(evidence.dots)
    low, high = dots.domain_of(evidence)
    spots = []
    for dot, row in zip(evidence.dots, place, strict=True):
        if dot.value is None or not math.isfinite(dot.value) or (evidence.log and dot.value <= 0):
            continue
        across = math.log(dot.value / low) / math.log(high / low) if evidence.log else (dot.value - low) / (high - low)
        spots.append([round(across, 3), round((row + 0.5) / len(rows), 3), name(dot.label), quantity(dot.value)])
    sizes = {size: dots.shape(evidence, narrow=narrow) for size, narrow in SIZES}
    # What is nearest is judged in px of the wide picture.
    return _spots(spots, evidence.x_label.partition(",")[0], (sizes["wide"].width, sizes["wide"].height), sizes)


def of_bars(evidence: Distribution) -> str:
    """The label and the height of each bar."""
    label, count = name(evidence.x_label), len(evidence.bins)
    spots: list[Any] = [
        [round((i + 0.5) / count, 4), 0, f"{label} {name(entry.label)}", quantity(float(entry.count))]
        for i, entry in enumerate(evidence.bins)
    ]
    return _spots(spots, evidence.y_label, (1, 0), {size: bars.shape(narrow=narrow) for size, narrow in SIZES})


def of_ridges(evidence: Ridges) -> str:
    """The label and remark of each ridge, and thousandths of its values in each bin."""
    sizes = {size: ridges.shape(evidence, narrow=narrow) for size, narrow in SIZES}
    most = max((len(ridge.shares) for ridge in evidence.ridges), default=0)
    spots = []
    for row, ridge in enumerate(evidence.ridges):
        whole = sum(ridge.shares) or 1.0
        shares = [_short(round(1000 * share / whole, 1)) for share in ridge.shares] + [0] * (most - len(ridge.shares))
        words = name(ridge.label) + (f"\n{name(ridge.remark)}" if ridge.remark else "")
        spots.append([0, round(ridges.middle(row, len(evidence.ridges)), 3), words, shares])
    scale = {"first": evidence.first, "width": evidence.width}
    return _spots(spots, evidence.x_label, (0, 1), sizes, **scale)


def _spots(spots: list[Any], label: str, near: tuple[int, int], sizes: dict[str, Frame], **more: float) -> str:
    if not spots:
        return ""
    places = {size: {"frame": _place(frame)} for size, frame in sizes.items()}
    return _json({"label": name(label), "x": (0, 1), "near": near, "spots": spots, **more, **places})


def _place(frame: Frame) -> list[int]:
    """Left, top, width and height of the plot in px of the picture."""
    return [frame.left, frame.top, frame.width, frame.height]


def _short(value: float | None) -> float | None:
    """A number as JSON has it, whole ones the same whether they came as 1 or as 1.0; None for NaN and infinity."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else value


def _json(plot: dict[str, Any]) -> str:
    text = json.dumps(plot, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text if len(text) <= LONGEST else ""
