"""Charts of whole embedding tables: how large they are, and how large their gradients."""

from collections.abc import Sequence

from gradaudit.chart_data import Lines
from gradaudit.evidence.charts.lines import distance_chart
from gradaudit.evidence.charts.reduce import plain
from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.layers import comparable_layers, weight_layers, zero_initialised
from gradaudit.signals.layers.unchanged import column_of
from gradaudit.signals.order_statistics import medians_across
from gradaudit.signals.updates.ratios import update_ratio
from gradaudit.signals.updates.weight_growth import norms_over_first
from gradaudit.training import Training

_MOST_LINES = 4


def shrinking_norms(training: Training, columns: Sequence[int]) -> Lines:
    """The norm of each of these tables over its first, beside that of the median weight layer."""
    left, steps = norms_over_first(training), training.recorded_global_steps
    tensors = training.tensors
    layers = weight_layers(training) & ~zero_initialised(training)
    series = [plain(tensors[i].name, steps, left[:, i], role="flagged") for i in columns[:_MOST_LINES]]
    if layers.any():
        series.append(plain("median weight layer", steps, medians_across(left[:, layers])))
    return Lines(
        title="Norm of the table",
        caption="The norm of the weights over the first one.",
        x_label="step",
        y_label="|w| / first |w|",
        series=series,
    )


def table_gradients(training: Training, columns: Sequence[int]) -> Lines:
    """The norm of the gradient of each of these tables."""
    norms, steps = training.matrix("gradient_norm"), training.recorded_global_steps
    tensors = training.tensors
    return Lines(
        title="Gradient of the table",
        caption="The norm of the gradient. Behind a normalisation layer it grows as the table shrinks.",
        x_label="step",
        y_label="gradient norm",
        series=[plain(tensors[i].name, steps, norms[:, i], role="flagged") for i in columns[:_MOST_LINES]],
        log=True,
    )


def table_update_ratio(training: Training, table: TensorFacts) -> Lines:
    """The update-to-weight ratio of a table beside that of the median weight layer."""
    ratios, steps = update_ratio(training), training.recorded_global_steps
    return Lines(
        title="Update-to-weight ratio",
        caption="The table beside the median weight layer. What was judged is their ratio, divided by the square "
        "root of the share of rows that a step hits.",
        x_label="step",
        y_label="|update| / |weight|",
        series=[
            plain(table.name, steps, ratios[:, column_of(training, table)], role="flagged"),
            plain("median weight layer", steps, medians_across(ratios[:, comparable_layers(training)])),
        ],
        log=True,
    )


def table_movement(training: Training, table: str) -> Lines:
    """How far the weights of a table are from where they started."""
    caption = (
        "How far the weights are from their first values, over the size of those. The distance of a table that learns "
        "grows as that of the layers above it."
    )
    return distance_chart(training, [t for t in training.tensors if t.name == table], caption)
