"""Colours and geometry of every chart.

The SVGs hold these real colours, so that copies, PDFs and pages without style sheets look right;
report.css maps each to its dark twin. Contrast on white is at least 4.5 for every ink but the bands.
"""

from dataclasses import dataclass
from typing import Any

INK, MUTED, GRID, AXIS = "#1f2329", "#5b6470", "#e7e9ec", "#c3c8ce"
BLUE, ORANGE, GREEN, PINK = "#0b65b0", "#c2500a", "#0a7f5d", "#a8417f"
BAND, CRITICAL, PAPER = "#8fb9de", "#b3261e", "#ffffff"
INKS = (INK, MUTED, GRID, AXIS, BLUE, ORANGE, GREEN, PINK, BAND, CRITICAL, PAPER)

# Blue and orange stay apart in every colour vision deficiency and come first; dashes tell the rest apart.
Dash = tuple[int, ...]
MAIN: tuple[tuple[str, Dash], ...] = (
    (BLUE, ()), (GREEN, (7, 3)), (PINK, (2, 2)), (ORANGE, (8, 3, 2, 3)), (INK, (4, 2)), (MUTED, (12, 4)),
)  # fmt: skip
EVALUATION: tuple[tuple[str, Dash], ...] = (
    (ORANGE, (6, 2)), (PINK, (2, 2)), (GREEN, (8, 3, 2, 3)), (INK, (10, 3)), (MUTED, (3, 1)), (BLUE, (1, 3)),
)  # fmt: skip
FLAGGED: tuple[tuple[str, Dash], ...] = (
    (ORANGE, ()), (PINK, (6, 2)), (GREEN, (2, 2)), (INK, (8, 3, 2, 3)), (MUTED, (10, 2)), (BLUE, (3, 1)),
)  # fmt: skip
REFERENCE: tuple[tuple[str, Dash], ...] = ((MUTED, (5, 4)), (MUTED, (2, 3)))

# Of several runs on one chart each has a colour: its training loss solid, its validation loss dashed.
RUNS: dict[str, tuple[tuple[str, Dash], ...]] = {
    f"run {letter}": ((colour, ()), (colour, (6, 2)))
    for letter, colour in zip("ABCD", (BLUE, ORANGE, GREEN, PINK), strict=True)
}

CHARACTER = 6.1  # mean width of a character at 11 px, in px
BOLD = 1.15  # how much wider bold is

CONFIG: dict[str, Any] = {
    "font": "system-ui",
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED, "titleColor": MUTED, "labelFontSize": 11, "titleFontSize": 11,
        "titleFontWeight": "normal", "gridColor": GRID, "domainColor": AXIS, "tickColor": AXIS, "tickSize": 4,
        "labelPadding": 4, "titlePadding": 8, "labelFlush": False,
    },
    "axisX": {"grid": False},
    "axisY": {
        "domain": False, "ticks": False, "titleAngle": 0, "titleAlign": "left", "titleAnchor": "end",
        "titleY": -12, "titleX": 0,
    },
    "text": {"fontSize": 11},
}  # fmt: skip


@dataclass(frozen=True)
class Frame:
    """Fixed geometry of one chart in px: charts align down the page, and hover needs no measuring."""

    width: int  # of the plot, without the margins
    height: int
    left: int
    right: int
    top: int = 26
    bottom: int = 42
    narrow: bool = False

    @property
    def ticks(self) -> int:
        """How many ticks the x axis asks for."""
        return 4 if self.narrow else 9


def frame(height: int, *, narrow: bool, left: int = 0, right: int = 0) -> Frame:
    """A frame of 798 px, or of 346 px for small screens, with `height` px for the plot."""
    left = left or (46 if narrow else 52)
    right = right or (66 if narrow else 122)
    return Frame((346 if narrow else 798) - left - right, height, left, right, narrow=narrow)
