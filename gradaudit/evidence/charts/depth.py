"""What vanishing and exploding gradients show: the gradient of every layer, and the loss."""

import math

from gradaudit.chart_data import Dot, Dots
from gradaudit.evidence.charts.lines import MOST_DOTS
from gradaudit.evidence.charts.reduce import short
from gradaudit.signals.gradients.depth_slope import Slope
from gradaudit.training import Training


def depth_dots(training: Training, slope: Slope, flagged: set[str]) -> Dots:
    """One dot a weight layer, in depth order: its gradient norm over the first steps."""
    tensors = training.tensors
    dots = [
        Dot(
            label=tensors[int(column)].name,
            value=short(10 ** float(value)),
            group=tensors[int(column)].role,
            flagged=tensors[int(column)].name in flagged,
        )
        for column, value in zip(slope.columns, slope.early, strict=True)
    ]
    every = math.ceil(len(dots) / MOST_DOTS)
    return Dots(
        title="Gradient norm by layer, first ten steps",
        caption="From the input at the top to the output at the bottom; each decade is a factor of ten. Healthy layers "
        "stand within one or two decades.",
        x_label="gradient norm",
        dots=dots[::every],
    )
