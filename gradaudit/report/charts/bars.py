"""Draws `Distribution`: one bar for each bin."""

from dataclasses import dataclass
from typing import Any

import altair

from gradaudit.chart_data import Distribution
from gradaudit.report.charts import tooltips
from gradaudit.report.charts.primitives import Label, Part, axis_of, chart, layered, number_format, text_width, truncate
from gradaudit.report.charts.tables import number_table
from gradaudit.report.charts.theme import BLUE, CRITICAL, MUTED, Frame, frame
from gradaudit.report.model import Legend, TableView
from gradaudit.report.text import name, quantity


@dataclass(frozen=True)
class BarChart:
    """Bars beside each other."""

    evidence: Distribution

    def frame(self, *, narrow: bool) -> Frame:
        """The same for all."""
        return frame(150, narrow=narrow)

    def draw(self, frame: Frame) -> altair.LayerChart:
        """The chart. Bars stand on numbered places, so that two bins with the same label stay two."""
        evidence = self.evidence
        count = max(1, len(evidence.bins))
        step = frame.width / count
        x = altair.X("x:Q", scale=altair.Scale(domain=[0, count], nice=False), axis=None)
        top = max((entry.count for entry in evidence.bins), default=0) or 1
        scale = altair.Scale(domain=[0, top * 1.12], nice=False)
        axis = axis_of(number_format(0, top), title=truncate(evidence.y_label, frame.width), tickCount=4)
        y = altair.Y("y:Q", scale=scale, axis=axis)
        layers: list[Part] = [chart([]).mark_point().encode(x=x, y=y)]
        for flagged, colour in ((False, BLUE), (True, CRITICAL)):
            rows = [
                {"x": i + 0.08, "x2": i + 0.92, "y": entry.count, "zero": 0}
                for i, entry in enumerate(evidence.bins)
                if entry.flagged is flagged
            ]
            if rows:
                layers.append(chart(rows).mark_rect(color=colour).encode(x=x, x2="x2", y=y, y2="zero"))
        # Labels in every place, or in every second, third, ... one when they would touch.
        longest = max((text_width(entry.label) for entry in evidence.bins), default=0.0) * 0.92
        every = 1
        while every < count and min(longest, 90) + 4 > step * every:
            every += 1
        # Every bar says its value where all of them have room for it.
        roomy = (
            max((text_width(quantity(float(entry.count)), bold=True) for entry in evidence.bins), default=0.0) + 4
            <= step
        )
        for i, entry in enumerate(evidence.bins):
            middle = (i + 0.5) * step
            if i % every == 0:
                label = truncate(entry.label, max(step * every, 40))
                layers.append(Label(label, middle, frame.height + 14, MUTED, baseline="middle", size=10))
            amount = quantity(float(entry.count))
            down = frame.height * (1 - entry.count / (top * 1.12)) - 5
            colour = CRITICAL if entry.flagged else MUTED
            if roomy:
                layers.append(Label(amount, middle, down, colour, baseline="bottom", bold=entry.flagged))
            elif entry.flagged:
                left = i < count / 2
                edge = middle - step * 0.42 if left else middle + step * 0.42
                align = "left" if left else "right"
                layers.append(Label(amount, edge, down, colour, baseline="bottom", align=align, bold=True))
        x_label = truncate(evidence.x_label, frame.width)
        layers.append(Label(x_label, frame.width / 2, frame.height + 32))
        return layered(layers)

    def tooltip(self) -> str:
        """The label and the height of each bar."""
        label, count = name(self.evidence.x_label), len(self.evidence.bins)
        spots: list[Any] = [
            [round((i + 0.5) / count, 4), 0, f"{label} {name(entry.label)}", quantity(float(entry.count))]
            for i, entry in enumerate(self.evidence.bins)
        ]
        frames = {size: self.frame(narrow=narrow) for size, narrow in tooltips.SIZES}
        return tooltips.spots(spots, self.evidence.y_label, (1, 0), frames)

    def table(self) -> TableView:
        """A row for each bar."""
        rows = [(name(entry.label), quantity(float(entry.count))) for entry in self.evidence.bins]
        return number_table((self.evidence.x_label, self.evidence.y_label), rows)

    def legend(self) -> Legend:
        """Nothing: each bar has its label."""
        return Legend()

    def placeholder(self) -> str:
        """Nothing: bars of no height are drawn, too."""
        return ""
