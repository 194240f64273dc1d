"""The numbers behind a chart, as a small table for those who cannot or do not want to see the picture."""

from collections.abc import Sequence

from gradaudit.report.model import TableView
from gradaudit.report.text import name

MOST_ROWS = 40
CELL = 120  # characters


def number_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> TableView:
    """The first `MOST_ROWS` rows, as wide as the head, every cell made visible."""
    width = len(head)
    shown = tuple(
        tuple(name(cell, CELL) for cell in (*row, *("" for _ in range(width)))[:width]) for row in rows[:MOST_ROWS]
    )
    return TableView(tuple(map(name, head)), shown, max(0, len(rows) - MOST_ROWS))
