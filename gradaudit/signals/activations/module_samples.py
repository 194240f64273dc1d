"""Samples of what goes into the losses and the model, and of what comes out of its activation modules."""

from typing import TYPE_CHECKING

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.signals.order_statistics import Mask, median
from gradaudit.training import signal

if TYPE_CHECKING:
    import pandas

SAMPLES = 5  # the last so many samples are what a module has come to
_UNEVEN = 100.0  # times between the spread of features that is worth a sentence


class InputSample(msgspec.Struct, frozen=True):
    """A sampled input of the model, over all of its elements; NaN what was not recorded."""

    step: int
    minimum: float
    maximum: float
    mean: float
    std: float
    feature_std_ratio: float  # the largest standard deviation of a feature over the smallest

    @property
    def largest(self) -> float:
        """The largest absolute value."""
        return max(abs(self.minimum), abs(self.maximum))

    @property
    def uneven(self) -> bool:
        """Whether the features differ so much in their spread that it is worth a sentence."""
        return self.feature_std_ratio >= _UNEVEN


@signal
def loss_inputs(run: Run, loss: int) -> "pandas.DataFrame":
    """The samples of one loss function's input whose range is known, in order of steps."""
    return _known(run, "loss_input", "loss", loss)


@signal
def model_inputs(run: Run) -> "pandas.DataFrame":
    """The samples of what the model was given, never of integers, whose range is known, in order of steps."""
    frame = run.samples
    frame = frame[frame["kind"] == "input"]
    return frame[_finite(frame)]


@signal
def first_input(run: Run) -> InputSample | None:
    """The first of `model_inputs`; None where none was sampled."""
    inputs = model_inputs(run)
    if not len(inputs):
        return None
    columns = ("minimum", "maximum", "mean", "std", "feature_std_ratio")
    row = inputs.iloc[0]
    return InputSample(int(row["step"]), *(float(row[column]) for column in columns))


@signal
def activation_outputs(run: Run, module: int) -> "pandas.DataFrame":
    """The samples of one activation module's output, in order of steps."""
    return _known(run, "output", "module", module)


@signal
def sampled_activations(run: Run) -> list[int]:
    """The identifiers of the activation modules whose outputs were sampled."""
    frame = run.samples
    return sorted({int(module) for module in frame.loc[frame["kind"] == "output", "module"]})


def last_samples(frame: "pandas.DataFrame", column: str) -> float:
    """The median of a column over the last samples that know it; NaN where none does."""
    values = frame[column].to_numpy(dtype=float)
    return median(values[numpy.isfinite(values)][-SAMPLES:])


def _known(run: Run, kind: str, column: str, index: int) -> "pandas.DataFrame":
    frame = run.samples
    frame = frame[(frame["kind"] == kind) & (frame[column] == index)]
    return frame[_finite(frame)]


def _finite(frame: "pandas.DataFrame") -> Mask:
    return numpy.asarray(numpy.isfinite(frame[["minimum", "maximum"]].to_numpy(dtype=float)).all(axis=1))
