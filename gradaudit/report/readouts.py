"""What the script of a page needs to say what is under the pointer; texts in it are shown as text only."""

import json
import math
from typing import Any

from gradaudit.findings import Heatmap, Lines
from gradaudit.report import heatmap, lines
from gradaudit.report.marks import Domain
from gradaudit.report.text import name
from gradaudit.report.theme import Frame

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
    places = {
        size: {"frame": _place(lines.shape(height, narrow=narrow))}
        for size, narrow in (("wide", False), ("narrow", True))
    }
    return _json(
        {
            "label": name(evidence.x_label),
            "x": [_short(x) for x in domain or lines.span(evidence)],
            "series": series,
            **places,
        }
    )


def of_heatmaps(panels: list[Heatmap]) -> str:
    """The names of the rows, the scale of the colours, and where each panel stands."""
    places = {
        size: {
            "frame": _place(heatmap.shape(panels, narrow=narrow)),
            "panels": [
                [panel.top, panel.row, len(panel.heatmap.rows)] for panel in heatmap.panels(panels, narrow=narrow)
            ],
        }
        for size, narrow in (("wide", False), ("narrow", True))
    }
    first, last = min(panel.first_step for panel in panels), max(panel.last_step for panel in panels)
    rows = [[name(row) for row in panel.rows] for panel in panels]
    facts = {"label": "step", "x": (first, max(last, first + 1)), "unit": name(panels[0].unit)}
    return _json({**facts, "range": heatmap.scale_of(panels), "rows": rows, **places})


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
