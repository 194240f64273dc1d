"""Evidence drawn for a test, not yet rendered."""

import altair

from gradaudit.chart_data import AnyEvidence
from gradaudit.report.charts.figures import chart_of
from gradaudit.report.charts.theme import Frame


def draw(evidence: AnyEvidence, *, narrow: bool) -> tuple[altair.LayerChart, Frame] | None:
    """The chart of any evidence and its frame; None for what is a table already."""
    chart = chart_of(evidence)
    frame = chart.frame(narrow=narrow)
    return None if frame is None else (chart.draw(frame), frame)
