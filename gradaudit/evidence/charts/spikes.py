"""The steps around the highest spike of the loss, drawn one by one."""

import msgspec
import numpy

from gradaudit.chart_data import Lines, Mark
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.wording import count
from gradaudit.signals.loss.spikes import Spikes
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import Floats
from gradaudit.signals.smoothing import wide


def loss_around(loss: TrainingLoss, spikes: Spikes, *, several: bool) -> Lines:
    """The loss of each step around the spike, whose highest step is marked; of `several` it is the highest."""
    caption = f"The loss of each step{_where(several)}; the mark is the spike's highest step."
    chart = Lines(title="Training loss", caption=caption, x_label="step", y_label="loss", series=[])
    return _zoomed(chart, loss, spikes, loss.name, loss.values)


def norm_around(loss: TrainingLoss, spikes: Spikes, *, several: bool) -> Lines:
    """The gradient norm of the same steps, where it was recorded."""
    chart = Lines(
        title="Gradient norm",
        caption=f"The gradient norm of the same steps{_where(several)}, where it was recorded; the mark is the spike's "
        "highest step. A norm that rises before the loss is its cause, one that rises after it the consequence.",
        x_label="step",
        y_label="gradient norm before clipping",
        series=[],
    )
    norms = loss.training.steps["gradient_norm"].to_numpy(dtype=float)
    return _zoomed(chart, loss, spikes, "gradient norm", norms)


def _where(several: bool) -> str:
    return " around the highest of them" if several else ""


def _zoomed(chart: Lines, loss: TrainingLoss, spikes: Spikes, name: str, values: Floats) -> Lines:
    """The values one by one: over the whole run a spike of five steps is as wide as its mark."""
    around, top = spikes.around(len(values)), loss.steps[spikes.top]
    x, y = loss.steps[around], values[around]
    known = numpy.isfinite(y)
    return msgspec.structs.replace(
        chart,
        title=f"{chart.title}, steps {count(x[0])} to {count(x[-1])}",
        series=[plain(name, x[known], y[known])],
        marks=[Mark(label=f"step {count(top)}", x=int(top))],
        log=wide(y[known]),
    )
