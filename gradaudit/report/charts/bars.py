"""Draws `Distribution`: one bar for each bin."""

import altair

from gradaudit.findings import Distribution
from gradaudit.report.charts.marks import Part, axis_of, chart, fitting, layered, number_format, text, wide
from gradaudit.report.charts.theme import BLUE, CRITICAL, MUTED, Frame, frame
from gradaudit.report.text import quantity


def shape(*, narrow: bool) -> Frame:
    """The frame."""
    return frame(150, narrow=narrow)


def draw(evidence: Distribution, size: Frame) -> altair.LayerChart:
    """The chart. Bars stand on numbered places, so that two bins with the same label stay two."""
    count = max(1, len(evidence.bins))
    step = size.width / count
    x = altair.X("x:Q", scale=altair.Scale(domain=[0, count], nice=False), axis=None)
    top = max((entry.count for entry in evidence.bins), default=0) or 1
    scale = altair.Scale(domain=[0, top * 1.12], nice=False)
    axis = axis_of(number_format(0, top), title=fitting(evidence.y_label, size.width), tickCount=4)
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
    longest = max((wide(entry.label) for entry in evidence.bins), default=0.0) * 0.92
    every = 1
    while every < count and min(longest, 90) + 4 > step * every:
        every += 1
    # Every bar says its value where all of them have room for it.
    roomy = max((wide(quantity(float(entry.count)), bold=True) for entry in evidence.bins), default=0.0) + 4 <= step
    for i, entry in enumerate(evidence.bins):
        middle = (i + 0.5) * step
        if i % every == 0:
            label = fitting(entry.label, max(step * every, 40))
            layers.append(text(label, middle, size.height + 14, MUTED, baseline="middle", size=10))
        amount = quantity(float(entry.count))
        down = size.height * (1 - entry.count / (top * 1.12)) - 5
        colour = CRITICAL if entry.flagged else MUTED
        if roomy:
            layers.append(text(amount, middle, down, colour, baseline="bottom", bold=entry.flagged))
        elif entry.flagged:
            left = i < count / 2
            edge = middle - step * 0.42 if left else middle + step * 0.42
            align = "left" if left else "right"
            layers.append(text(amount, edge, down, colour, baseline="bottom", align=align, bold=True))
    x_label = fitting(evidence.x_label, size.width)
    layers.append(text(x_label, size.width / 2, size.height + 32))
    return layered(layers)
