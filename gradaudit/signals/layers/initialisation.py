"""The scale at which layers start, against what torch.nn gives a layer of that size."""

import math
from dataclasses import dataclass

import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.per_run import per_run


@dataclass(frozen=True)
class Start:
    """How one layer starts: root mean square per element, and torch.nn's default for its number of inputs."""

    name: str
    rms: float
    usual: float  # Linear and Conv draw uniformly within 1/sqrt(fan_in), which has an RMS of 1/sqrt(3 fan_in)
    inputs: int


@per_run
def output_layer(run: Run, optimizer: int) -> Start | None:
    """The deepest weight layer as it started, or None when its statistics do not begin at the first step."""
    layers = numpy.flatnonzero(weight_layers(run, optimizer))
    recorded = run.recorded_steps(optimizer)
    if not len(layers) or not len(recorded) or recorded[0] != 0:
        return None
    tensor = run.tensors_of(optimizer)[int(layers[-1])]
    norm = float(run.matrix("weight_norm", optimizer)[0, layers[-1]])
    inputs = max(1, math.prod(tensor.shape[1:]))
    if not math.isfinite(norm):
        return None
    return Start(tensor.name, norm / math.sqrt(tensor.elements), 1 / math.sqrt(3 * inputs), inputs)


def first_rms(run: Run, tensor: TensorFacts) -> float:
    """The root mean square of a tensor's elements as it started; NaN when it was not recorded from the first step."""
    optimizer = tensor.recorded_with
    recorded = run.recorded_steps(optimizer)
    if not len(recorded) or recorded[0] != 0 or not tensor.elements:
        return math.nan
    column = [facts.id for facts in run.tensors_of(optimizer)].index(tensor.id)
    return float(run.matrix("weight_norm", optimizer)[0, column]) / math.sqrt(tensor.elements)
