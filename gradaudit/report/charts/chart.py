"""What the page asks of any chart, and how it wants it."""

from dataclasses import dataclass
from typing import Protocol

import altair

from gradaudit.report.charts.primitives import Domain
from gradaudit.report.charts.theme import Frame
from gradaudit.report.model import Legend, TableView


class Chart(Protocol):
    """One piece of evidence as it is shown: a picture, what explains it, and its numbers."""

    def frame(self, *, narrow: bool) -> Frame | None:
        """The geometry in px of the picture for wide or for small screens; None for what is a table alone."""

    def draw(self, frame: Frame) -> altair.LayerChart:
        """The picture in a frame of its own."""

    def tooltip(self) -> str:
        """JSON for the script of the page, which says what is under the pointer; empty for nothing."""

    def table(self) -> TableView:
        """The numbers behind the picture."""

    def legend(self) -> Legend:
        """What its colours, dashes and shapes mean."""

    def placeholder(self) -> str:
        """The sentence in the place of the picture where no value has a place in it; else empty."""


@dataclass(frozen=True)
class Layout:
    """How a page wants a chart over steps."""

    x: Domain | None = None  # the range of x; None for that of the values
    steps: Domain | None = None  # those of the run: a chart over most of them has the same axis
    height: int = 0  # px of the plot; 0 for the usual
