"""The scale at which layers start, against what torch.nn gives a layer of that size, and against Glorot's."""

import math

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import ModuleFacts, TensorFacts
from gradaudit.signals.layers.layers import comparable_layers, weight_layers
from gradaudit.signals.order_statistics import median
from gradaudit.training import Training, signal

_LARGE = 1.5  # times Glorot's standard deviation


class Start(msgspec.Struct, frozen=True):
    """How one layer starts: root mean square per element, and torch.nn's default for its number of inputs."""

    name: str
    rms: float
    usual: float  # Linear and Conv draw uniformly within 1/sqrt(fan_in), which has an RMS of 1/sqrt(3 fan_in)
    inputs: int


_UNLIKE = 2.0  # times: initial sizes that differ less are ordinary


class InitialSizes(msgspec.Struct, frozen=True):
    """A layer that starts at another size than the others, both over torch.nn's default."""

    own: float  # times
    others: float  # times, median
    own_is_odd: bool  # it is further from the default than the others


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


def output_bias(training: Training) -> TensorFacts | None:
    """The bias of that layer; None where it has none, or is not known."""
    start = output_layer(training)
    name = f"{start.name.rpartition('.')[0]}.bias" if start is not None else ""
    return next((tensor for tensor in training.run.meta.tensors if tensor.name == name), None)


def first_rms(run: Run, tensor: TensorFacts) -> float:
    """The root mean square of a tensor's elements as it started; NaN when it was not recorded from the first step."""
    training = run.training(tensor.recorded_with)
    recorded = training.recorded
    if not len(recorded) or recorded[0] != 0 or not tensor.elements:
        return math.nan
    column = [facts.id for facts in training.tensors].index(tensor.id)
    return float(training.matrix("weight_norm")[0, column]) / math.sqrt(tensor.elements)


class GlorotStart(msgspec.Struct, frozen=True):
    """How the weight in front of an activation starts, against Glorot's initialisation for that activation."""

    tensor: TensorFacts
    gain: float  # of the activation, as torch.nn.init.calculate_gain has it
    usual: float  # Glorot's standard deviation
    rms: float  # of the elements as they start; NaN where it was not recorded

    @property
    def times(self) -> float:
        """How many times as large as Glorot's it starts."""
        return self.rms / self.usual

    @property
    def too_large(self) -> bool:
        """Whether that is clearly more."""
        return self.rms > _LARGE * self.usual


def gain(module: ModuleFacts) -> float:
    """torch.nn.init.calculate_gain of a sigmoid or tanh."""
    return 5 / 3 if module.module_class.lower() == "tanh" else 1.0


def glorot_start(run: Run, module: ModuleFacts) -> GlorotStart | None:
    """The start of the weight that is registered last before this activation; None where there is none."""
    places = {other.name: other.id for other in run.meta.modules}
    before = [
        tensor
        for tensor in run.meta.tensors
        if tensor.role == "weight" and len(tensor.shape) >= 2 and places.get(tensor.module, module.id) < module.id
    ]
    if not before:
        return None
    weight = max(before, key=lambda tensor: places[tensor.module])
    outputs = weight.shape[max(weight.output_axis, 0)]
    usual = gain(module) * math.sqrt(2 / (weight.elements / max(1, outputs) + outputs))
    return GlorotStart(weight, gain(module), usual, first_rms(run, weight))


def initial_sizes(training: Training, layer: TensorFacts) -> InitialSizes | None:
    """How a layer and the other comparable ones start; None where that is not known, or ordinary."""
    own, others = math.nan, []
    for tensor, take in zip(training.tensors, comparable_layers(training), strict=True):
        # Recurrent layers have defaults of their own.
        if not take or not any(word in tensor.module_class for word in ("Linear", "Conv")):
            continue
        size = first_rms(training.run, tensor) * math.sqrt(3 * max(1, math.prod(tensor.shape[1:])))
        if tensor.name == layer.name:
            own = size
        elif math.isfinite(size):
            others.append(size)
    usual = median(numpy.asarray(others))
    if not (own > 0 and usual > 0) or max(own / usual, usual / own) < _UNLIKE:
        return None
    return InitialSizes(own=own, others=usual, own_is_odd=abs(math.log(own)) >= abs(math.log(usual)))
