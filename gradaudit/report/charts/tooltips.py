"""What the script of a page needs to say what is under the pointer; texts in it are shown as text only."""

import json
import math
from typing import Any

from gradaudit.report.charts.theme import Frame
from gradaudit.report.text import name

SIZES = (("wide", False), ("narrow", True))
LONGEST = 30_000  # characters; a chart without a tooltip still has its table of numbers


def encoded(plot: dict[str, Any]) -> str:
    """The tooltip of a chart as JSON; empty where it is too long."""
    text = json.dumps(plot, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text if len(text) <= LONGEST else ""


def spots(found: list[Any], label: str, near: tuple[int, int], frames: dict[str, Frame], **more: float) -> str:
    """The tooltip of a chart of single spots: [across, down (both from 0 to 1), words, value] each; empty for none.

    `near` weighs the distances across and down by which the nearest spot is found.
    """
    if not found:
        return ""
    places = {size: {"frame": box(frame)} for size, frame in frames.items()}
    return encoded({"label": name(label), "x": (0, 1), "near": near, "spots": found, **more, **places})


def box(frame: Frame) -> list[int]:
    """Left, top, width and height of the plot in px of the picture."""
    return [frame.left, frame.top, frame.width, frame.height]


def finite(value: float | None) -> float | None:
    """A number as JSON has it, whole ones the same whether they came as 1 or as 1.0; None for NaN and infinity."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else value
