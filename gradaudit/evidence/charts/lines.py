"""Charts that several findings show, already reduced."""

import math

import numpy

from gradaudit.chart_data import Lines, Mark, Series
from gradaudit.evidence.charts.reduce import banded, plain
from gradaudit.evidence.words.wording import count, plural, setting
from gradaudit.schema import TensorFacts
from gradaudit.signals.evaluation.generalisation import TrainingCurve
from gradaudit.signals.gradients.finiteness import bad_losses, bad_norms, bad_weights
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import medians_across
from gradaudit.signals.smoothing import wide
from gradaudit.signals.updates.fastest_tensor import FastestTensor
from gradaudit.signals.updates.ratios import median_update_ratio
from gradaudit.training import Training

MOST_DOTS = 200  # one a tensor; more would not be told apart


def loss_chart(training: Training, caption: str, marks: list[Mark], last_step: float = math.inf) -> Lines:
    """The training loss up to `last_step`, on a log axis where it spans more than two decades."""
    loss = training_loss(training)
    shown = loss.steps <= last_step
    bad = bad_losses(training.run, training.steps) & ~numpy.isfinite(loss.values)
    return Lines(
        title="Training loss",
        caption=caption,
        x_label="step",
        y_label="loss",
        series=[banded(loss.name, loss.steps[shown], loss.values[shown], bad=bad[shown])],
        marks=marks,
        log=wide(loss.values[shown]),
    )


def training_curve(curve: TrainingCurve) -> Series:
    """The training loss that a validation loss is compared with, for a chart."""
    return (banded if curve.running else plain)(curve.name, curve.steps, curve.values)


def update_chart(training: Training, caption: str, marks: list[Mark]) -> Lines:
    """The median update-to-weight ratio of the weight layers over the recorded steps."""
    typical = median_update_ratio(training)
    bad = bad_weights(training).any(axis=1) & ~numpy.isfinite(typical)
    return Lines(
        title="Update-to-weight ratio",
        caption=caption + _recorded(training, len(typical)),
        x_label="step",
        y_label="|update| / |weight|",
        series=[
            plain("median weight layer", training.recorded_global_steps, typical, bad=bad),
        ],
        marks=marks,
        log=True,
    )


def fastest_chart(fastest: FastestTensor, limit: float) -> Lines:
    """The largest update-to-weight ratio of any tensor over the recorded steps, against a limit."""
    return Lines(
        title="Update-to-weight ratio",
        caption=f"The fastest weight layer or embedding at each step, against {setting(limit)}. Models trained from "
        "scratch mostly have one above 1e-3.",
        x_label="step",
        y_label="|update| / |weight|",
        series=[plain("fastest tensor", fastest.steps, fastest.ratios)],
        marks=[Mark(label=setting(limit), y=limit)],
        log=True,
    )


def _recorded(training: Training, steps: int) -> str:
    """At how many of an optimizer's steps a chart has values, where that is not all."""
    every = len(training.steps)
    return f" Recorded at {count(steps)} of {plural(every, 'step')}." if 0 < steps < every else ""


def rate_chart(training: Training, marks: list[Mark]) -> Lines:
    """The largest learning rate over the parameter groups at each step."""
    rates = training.learning_rates
    known = numpy.isfinite(rates)
    largest = numpy.where(known, rates, 0.0).max(axis=1, initial=0.0)
    return Lines(
        title="Learning rate",
        caption="The largest learning rate over the parameter groups at each step.",
        x_label="step",
        y_label="learning rate",
        series=[
            plain(
                "learning rate",
                training.steps["global_step"].to_numpy(),
                numpy.where(known.any(axis=1), largest, numpy.nan),
            )
        ],
        marks=marks,
        log=True,
    )


def distance_chart(training: Training, flagged: list[TensorFacts], caption: str) -> Lines:
    """How far some tensors, and the median of the other weight layers, have gone from where they started."""
    drift, weight = training.matrix("drift_norm"), training.matrix("weight_norm")
    steps = training.recorded_global_steps
    tensors = training.tensors
    with numpy.errstate(divide="ignore", invalid="ignore"):
        share = numpy.where(weight[0] > 0, drift / weight[0], numpy.nan)
    marked = {tensor.id for tensor in flagged}
    others = weight_layers(training) & numpy.asarray([tensor.id not in marked for tensor in tensors], dtype=bool)
    series = []
    for tensor in flagged[:4]:
        own = share[:, next(index for index, facts in enumerate(tensors) if facts.id == tensor.id)]
        series.append(plain(tensor.name, steps, numpy.where(numpy.isnan(own), 0.0, own), role="flagged"))
    if others.any():
        series.append(plain("median of the other layers", steps, medians_across(share[:, others])))
    return Lines(
        title="Distance from the start",
        caption=caption + _recorded(training, len(steps)),
        x_label="step",
        y_label="|w - first w| / |first w|",
        series=series,
    )


def norm_chart(training: Training, caption: str, marks: list[Mark]) -> Lines:
    """The norm of the whole gradient at each step, before clipping."""
    frame = training.steps
    # A step without statistics is no gap; a recorded NaN is.
    frame = frame[frame["recorded"].astype(bool) | numpy.isfinite(frame["gradient_norm"].to_numpy(dtype=float))]
    norms = frame["gradient_norm"].to_numpy(dtype=float)
    return Lines(
        title="Gradient norm",
        caption=caption + _recorded(training, len(norms)),
        x_label="step",
        y_label="gradient norm before clipping",
        series=[banded("gradient norm", frame["global_step"].to_numpy(), norms, log=True, bad=bad_norms(frame))],
        marks=marks,
        log=True,
    )


def loss_and_norm(training: Training, caption: str, step: int) -> list[Lines]:
    """The training loss, marked at a step at which it begins to overshoot, and the gradient norm."""
    return [
        loss_chart(training, caption, [Mark(label=f"step {count(step)}", x=step)]),
        norm_chart(training, "The gradient norm over the same steps: steps that overshoot make it grow, too.", []),
    ]
