"""Shows `Numbers`, which are a table already: there is nothing to draw."""

from dataclasses import dataclass

import altair

from gradaudit.chart_data import Numbers
from gradaudit.report.charts.tables import number_table
from gradaudit.report.charts.theme import Frame
from gradaudit.report.model import Legend, TableView

MOST_COLUMNS = 8


@dataclass(frozen=True)
class NumberTable:
    """A table alone."""

    evidence: Numbers

    def frame(self, *, narrow: bool) -> None:
        """None: there is no picture."""

    def draw(self, frame: Frame) -> altair.LayerChart:
        """Raises TypeError: a table has no frame to be drawn in."""
        raise TypeError("a table is not drawn")

    def tooltip(self) -> str:
        """Nothing."""
        return ""

    def table(self) -> TableView:
        """The first rows and columns."""
        cells = [tuple(row[:MOST_COLUMNS]) for row in self.evidence.cells]
        return number_table(tuple(self.evidence.columns[:MOST_COLUMNS]), cells)

    def legend(self) -> Legend:
        """Nothing."""
        return Legend()

    def placeholder(self) -> str:
        """Nothing."""
        return ""
