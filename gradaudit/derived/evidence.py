"""Charts that several findings show, already reduced."""

import math
from typing import Any

import numpy

from gradaudit.derived.ratios import recorded_global_steps, typical_update
from gradaudit.derived.reduce import banded, plain
from gradaudit.derived.training_loss import training_loss
from gradaudit.findings import Lines, Mark
from gradaudit.run import Run

MOST_DOTS = 200  # one a tensor; more would not be told apart


def wide(values: Any) -> bool:
    """Whether positive values span more than two decades, so that a linear axis would flatten most of them."""
    finite = numpy.asarray(values, dtype=float)
    finite = finite[numpy.isfinite(finite)]
    return bool(len(finite)) and float(finite.min()) > 0 and float(finite.max()) > 100 * float(finite.min())


def loss_chart(run: Run, optimizer: int, caption: str, marks: list[Mark], last_step: float = math.inf) -> Lines:
    """The training loss up to `last_step`, on a log axis where it spans more than two decades."""
    loss = training_loss(run, optimizer)
    shown = loss.steps <= last_step
    return Lines(
        title="Training loss",
        caption=caption,
        x_label="step",
        y_label="loss",
        series=[banded(loss.name, loss.steps[shown], loss.values[shown])],
        marks=marks,
        log=wide(loss.values[shown]),
    )


def update_chart(run: Run, optimizer: int, caption: str, marks: list[Mark]) -> Lines:
    """The median update-to-weight ratio of the weight layers over the recorded steps."""
    return Lines(
        title="Update-to-weight ratio",
        caption=caption,
        x_label="step",
        y_label="|update| / |weight|",
        series=[
            plain("median weight layer", recorded_global_steps(run, optimizer), typical_update(run, optimizer)),
        ],
        marks=marks,
        log=True,
    )
