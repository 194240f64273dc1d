"""Charts of one dot a weight layer, from the input at the top to the output at the bottom."""

import math

from gradaudit.evidence.charts.lines import MOST_DOTS
from gradaudit.evidence.charts.reduce import short
from gradaudit.findings import Dot, Dots, Mark
from gradaudit.signals.order_statistics import Floats, Integers
from gradaudit.training import Training


def eps_dots(training: Training, columns: Integers, rms: Floats, flagged: set[str], eps: float) -> Dots:
    """The running RMS of the gradient of some layers, `columns` and `rms` [layers], against eps."""
    every = math.ceil(len(columns) / MOST_DOTS)
    tensors = training.tensors
    return Dots(
        title="Running gradient RMS by layer, last half",
        caption="What the optimizer divides by, before eps is added; from the input at the top to the output at the "
        "bottom.",
        x_label="root of the running mean of squared gradients",
        dots=[
            Dot(
                label=tensors[int(column)].name,
                value=short(float(size)) if size > 0 else None,
                group=tensors[int(column)].role,
                flagged=tensors[int(column)].name in flagged,
            )
            for column, size in zip(columns[::every], rms[::every], strict=True)
        ],
        marks=[Mark(label="eps", x=eps)],
    )
