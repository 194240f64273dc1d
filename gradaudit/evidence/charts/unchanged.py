"""Charts of tensors that do not change, and of updates that rounding undoes."""

from collections.abc import Sequence

import numpy

from gradaudit.chart_data import Lines, Mark, Numbers
from gradaudit.evidence.charts.lines import distance_chart
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.wording import count, number, percent
from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.unchanged import unchanged
from gradaudit.signals.order_statistics import medians
from gradaudit.signals.updates.lost_updates import LostUpdates
from gradaudit.training import Training


def undone_chart(lost: LostUpdates, dtype: str, limit: float) -> Lines:
    """The share of the updates that rounding to `dtype` undoes at each step, against a limit."""
    return Lines(
        title="Updates that rounding undoes",
        caption="The share of elements with a gradient that a step leaves as they were, at steps with half of "
        "the largest learning rate or more.",
        x_label="step",
        y_label="share of the elements",
        series=[plain(f"weights in {dtype}", lost.steps, lost.over_time, role="flagged")],
        marks=[Mark(label=percent(limit), y=limit)],
    )


def unchanged_distance(training: Training, mine: Sequence[TensorFacts]) -> Lines:
    """How far tensors that do not change, and the median of the others, have gone from where they started."""
    caption = (
        "How far the weights are from their initial values, over the size of those. Weights that learn leave the zero "
        "line."
    )
    return distance_chart(training, list(mine), caption)


def unchanged_numbers(training: Training, mine: Sequence[TensorFacts]) -> Numbers:
    """The gradients of tensors that do not change, and those of the first that do."""
    place = {tensor.id: index for index, tensor in enumerate(training.tensors)}
    gradients = training.matrix("gradient_norm")
    norms = medians(gradients)
    # A gradient that is NaN is one all the same; one of zero moves nothing.
    has_nonzero_grad = ((training.matrix("has_grad") > 0) & (gradients != 0)).mean(axis=0)
    drift = training.matrix("drift_norm")[-1]
    moved = numpy.flatnonzero(~unchanged(training))
    rows = [*(place[tensor.id] for tensor in mine[:12]), *(int(index) for index in moved[:4])]
    tensors = training.tensors
    return Numbers(
        title="Unchanged tensors, and the first that change",
        caption="Median gradient norm over the recorded steps, and the distance from the initial value at the end, as "
        "a norm: the chart above has it over the size of the weights.",
        columns=["tensor", "shape", "steps with a gradient above 0", "gradient norm", "changed by"],
        cells=[
            [
                tensors[index].name,
                " x ".join(count(size) for size in tensors[index].shape) or "1",
                percent(float(has_nonzero_grad[index])),
                "none" if numpy.isnan(norms[index]) else number(float(norms[index])),
                number(float(drift[index])),
            ]
            for index in rows
        ],
    )
