"""Charts of the norm of weights over what it was at some step: how they grow and shrink."""

import numpy

from gradaudit.evidence.charts.reduce import plain
from gradaudit.findings import Lines
from gradaudit.signals.order_statistics import Floats
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
