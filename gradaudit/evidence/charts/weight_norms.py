"""Charts of the norm of weights over what it was at some step: how they grow and shrink."""

import numpy

from gradaudit.chart_data import Lines, Mark
from gradaudit.evidence.charts.reduce import plain
from gradaudit.signals.order_statistics import Floats, Integers, medians_across
from gradaudit.signals.updates.weight_growth import norms_over_first
from gradaudit.training import Training


def head_norm(training: Training, name: str, row: int, head: Floats, others: Floats) -> Lines:
    """The norms of the output layer and of the others, both [recorded steps], from the recorded step `row` on."""
    steps, shown = training.recorded_global_steps[row:], slice(row, None)
    series = [plain(name, steps, head[shown], role="flagged")]
    if numpy.isfinite(others[shown]).any():
        series.append(plain("median of the other layers", steps, others[shown]))
    return Lines(
        title="Norm of the output layer",
        caption="Relative to the step from which the learning rate falls. In a training that converges, norms hardly "
        "change.",
        x_label="step",
        y_label="norm / norm at the peak of the learning rate",
        series=series,
    )


def shrinking_layers(training: Training, columns: Integers, middle: Floats) -> Lines:
    """The norm over its first of the first three of these layers, and of the median layer, [recorded steps]."""
    left, tensors = norms_over_first(training), training.tensors
    steps = training.recorded_global_steps
    worst = [plain(tensors[int(i)].name, steps, left[:, int(i)], role="flagged") for i in columns[:3]]
    return Lines(
        title="Norm of the weights",
        caption="The norm of each weight over its first, for the layers that shrank most and for the median layer. "
        "Healthy weights stay or grow.",
        x_label="step",
        y_label="|w| / |first w|",
        series=[*worst, plain("median layer", steps, middle)],
        marks=[Mark(label="start", y=1.0, role="reference")],
        log=True,
    )


def noisy_layers(training: Training, columns: Integers, others: Integers) -> Lines:
    """The norms over the first of the first four of these layers, and of the median of the others."""
    left, tensors = norms_over_first(training), training.tensors
    steps = training.recorded_global_steps
    return Lines(
        title="Norm of the weights",
        caption="The norm of each weight over its first. Useful weights grow, and those that only add noise shrink.",
        x_label="step",
        y_label="|w| / |first w|",
        series=[
            *(plain(tensors[int(i)].name, steps, left[:, int(i)], role="flagged") for i in columns[:4]),
            plain("median of the other layers", steps, medians_across(left[:, others])),
        ],
        marks=[Mark(label="start", y=1.0, role="reference")],
    )
