"""The steps around a spike of the loss, drawn one by one."""

import numpy

from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.wording import count
from gradaudit.findings import Lines, Mark
from gradaudit.signals.order_statistics import Floats, Integers
from gradaudit.signals.smoothing import wide


def zoomed(
    name: str, title: str, label: str, steps: Integers, values: Floats, around: slice, marks: list[Mark], caption: str
) -> Lines:
    """The values of some steps, one by one: over the whole run a spike of five steps is as wide as its mark."""
    x, y = steps[around], values[around]
    known = numpy.isfinite(y)
    return Lines(
        title=f"{title}, steps {count(x[0])} to {count(x[-1])}",
        caption=caption,
        x_label="step",
        y_label=label,
        series=[plain(name, x[known], y[known])],
        marks=marks,
        log=wide(y[known]),
    )
