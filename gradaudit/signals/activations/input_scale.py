"""How large the inputs of a model are, as the gradient of its first layer tells."""

import math

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.layers import weight_layers, zero_initialised
from gradaudit.signals.order_statistics import Flags, Floats, Integers, median
from gradaudit.signals.updates.ratios import window
from gradaudit.training import Training, signal

FIRST_STEPS = 19  # the scale is read over steps 0 to 19
# Of the weight's, per output. What takes any bias out again, as a batch normalisation or the softmax behind a key
# projection does, leaves it 1e-5 and less: rounding. A plain chain has no such thing.
_NO_BIAS_GRADIENT, _IN_A_CHAIN = 1e-4, 1e-7
ROUNDING = 1e5  # an estimate above is more likely rounding of the bias's gradient than the inputs' size
# What subtracts the mean of each channel, and a bias with it. What rounding leaves of that bias's gradient grows with
# the batch and the positions, up to 1e-3, so the modules are asked first.
_CENTRES = ("BatchNorm", "InstanceNorm", "SyncBatchNorm")
_CHAIN = (
    "Sequential", "Linear", "Conv1d", "Conv2d", "Conv3d", "Flatten", "Identity", "Dropout", "ReLU", "LeakyReLU", "GELU",
    "SiLU", "ELU", "Tanh", "Sigmoid", "MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d",
)  # fmt: skip


class InputScale(msgspec.Struct, frozen=True, eq=False):
    """The root mean square of the first layer's inputs: |dW| / (|db| sqrt(inputs)), since dW sums the products of
    db's terms with the inputs."""

    layer: TensorFacts
    steps: Integers  # [recorded steps] global
    values: Floats  # [recorded steps]; NaN where the bias has next to no gradient, or the estimate is `above`
    estimates: Floats  # [recorded steps]: the same with what is `above`, to be looked at
    above: Flags  # [recorded steps]: the estimate is above `ROUNDING`
    typical: float  # the first value or the median over the first steps, whichever is less; NaN where too few are known


@signal
def input_scale(training: Training) -> InputScale | None:
    """The scale of what the first layer of the model gets; None when that layer is not trained here or has no bias.

    The layer is the first in registration order; tokens and tables of positions that are the same for a whole batch,
    with a leading dimension of 1, have no inputs and are passed over. With a single output the gradient of the bias is
    one number, which may vanish on its own, so such a layer tells nothing, nor does one that starts at zero. Errors
    that average out over a large batch leave the bias less gradient from step to step, which is why the first step
    counts, too.
    """
    tensors = training.tensors
    first = next((index for index, tensor in enumerate(tensors) if _has_inputs(tensor)), None)
    if first is None or not (weight_layers(training) & ~zero_initialised(training))[first]:
        return None
    layer = tensors[first]
    path, _, leaf = layer.name.rpartition(".")
    twin = f"{path}.{leaf.replace('weight', 'bias')}".removeprefix(".")
    biases = [index for index, tensor in enumerate(tensors) if tensor.name == twin and twin != layer.name]
    rows = layer.shape[max(layer.output_axis, 0)]
    if not biases or tensors[biases[0]].elements != rows or rows < 2 or _is_centred(training.run, layer, rows):
        return None
    norms = training.matrix("gradient_norm")
    of_weight, of_bias = norms[:, first], norms[:, biases[0]]
    least = _IN_A_CHAIN if _is_chain(training.run) else _NO_BIAS_GRADIENT
    has_nonzero_grad = (of_bias >= least * of_weight / math.sqrt(rows)) & (of_bias > 0) & (of_weight > 0)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        values = of_weight / (of_bias * math.sqrt(layer.elements / rows))
    above = has_nonzero_grad & (values > ROUNDING)
    estimates = numpy.where(has_nonzero_grad, values, numpy.nan)
    values = numpy.where(above, numpy.nan, estimates)
    early = window(training, 0, FIRST_STEPS)
    # A net that dies after a few steps has no gradient left to ask.
    asked = numpy.isfinite(of_bias) & (of_weight > 0) & early
    enough = asked.any() and numpy.isfinite(values[asked]).mean() > 0.5
    known = values[early & numpy.isfinite(values)]
    typical = min(median(known), float(known[0])) if enough else math.nan
    return InputScale(layer, training.recorded_global_steps, values, estimates, above, typical)


def _has_inputs(tensor: TensorFacts) -> bool:
    """Whether it may be the weight of a layer, and no token or table of positions that is broadcast over a batch."""
    broadcast = tensor.output_axis < 0 and len(tensor.shape) > 2 and tensor.shape[0] == 1
    return tensor.role == "weight" and len(tensor.shape) >= 2 and not broadcast


def _is_centred(run: Run, layer: TensorFacts, rows: int) -> bool:
    """Whether the first batch or instance normalisation after the layer may be that of its outputs: it is the next
    module, or has as many channels."""
    names = [module.name for module in run.meta.modules]
    if layer.module not in names:
        return False
    after = run.meta.modules[names.index(layer.module) + 1 :]
    place = next((at for at, module in enumerate(after) if module.module_class.startswith(_CENTRES)), None)
    if place is None:
        return False
    return place == 0 or any(
        tensor.module == after[place].name and tensor.elements == rows for tensor in run.meta.tensors
    )


def _is_chain(run: Run) -> bool:
    """Whether the model is known to hold nothing but layers in a row that keep the gradient of a bias."""
    modules = run.meta.modules
    return bool(modules) and all(module.module_class in _CHAIN for module in modules)
