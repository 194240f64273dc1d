"""The scale at which layers start, against what torch.nn gives a layer of that size."""

import math
from dataclasses import dataclass

import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.training import Training, signal


@dataclass(frozen=True)
class Start:
    """How one layer starts: root mean square per element, and torch.nn's default for its number of inputs."""

    name: str
    rms: float
    usual: float  # Linear and Conv draw uniformly within 1/sqrt(fan_in), which has an RMS of 1/sqrt(3 fan_in)
    inputs: int


@signal
def output_layer(training: Training) -> Start | None:
    """The deepest weight layer as it started, or None when its statistics do not begin at the first step."""
    layers = numpy.flatnonzero(weight_layers(training))
    recorded = training.recorded
    if not len(layers) or not len(recorded) or recorded[0] != 0:
        return None
    tensor = training.tensors[int(layers[-1])]
    norm = float(training.matrix("weight_norm")[0, layers[-1]])
    inputs = max(1, math.prod(tensor.shape[1:]))
    if not math.isfinite(norm):
        return None
    return Start(tensor.name, norm / math.sqrt(tensor.elements), 1 / math.sqrt(3 * inputs), inputs)


def first_rms(run: Run, tensor: TensorFacts) -> float:
    """The root mean square of a tensor's elements as it started; NaN when it was not recorded from the first step."""
    training = run.training(tensor.recorded_with)
    recorded = training.recorded
    if not len(recorded) or recorded[0] != 0 or not tensor.elements:
        return math.nan
    column = [facts.id for facts in training.tensors].index(tensor.id)
    return float(training.matrix("weight_norm")[0, column]) / math.sqrt(tensor.elements)
