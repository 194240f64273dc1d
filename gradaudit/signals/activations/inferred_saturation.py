"""Saturation of sigmoids and tanhs that were not sampled, where weights, gradients and the loss's input prove it."""

import math
from typing import TYPE_CHECKING

import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts, ModuleFacts
from gradaudit.signals.activations.module_samples import loss_inputs
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.order_statistics import Floats

if TYPE_CHECKING:
    import pandas

BOUNDED = ("sigmoid", "tanh")
# Beyond this input a tanh is beyond 0.99, and a sigmoid outside (0.01, 0.99).
_BEYOND = {"tanh": math.atanh(0.99), "sigmoid": math.log(0.99 / 0.01)}
_RARE = 0.01  # of the binary targets
_PASSES_ON = ("Dropout", "Identity")


def inferred_output(run: Run, module: ModuleFacts) -> "pandas.DataFrame | None":
    """The least share of saturated outputs, for a module that ends its model, in front of the only loss.

    With m and s, mean and standard deviation of the outputs y of a tanh, 1 - y^2 has a mean of 1 - m^2 - s^2, and is
    below 0.0199 where y is saturated: by Markov's inequality no more than their ratio is not. In the same way y (1
    - y) for a sigmoid. None where the samples are not such an output, where another module may have made it, and
    where nearly all targets are the same: then a sure output is right.
    """
    if len(run.meta.losses) != 1 or not _makes_output(run, module) or _one_sided(run.meta.losses[0]):
        return None
    frame = loss_inputs(run, run.meta.losses[0].id)
    low = -1.0 if _kind(module) == "tanh" else 0.0
    if not len(frame) or frame["minimum"].min() < low or frame["maximum"].max() > 1.0:
        return None
    mean, spread = frame["mean"].to_numpy(dtype=float), frame["std"].to_numpy(dtype=float)
    square = mean**2 + spread**2
    free, limit = (1 - square, 1 - 0.99**2) if _kind(module) == "tanh" else (mean - square, 0.01 * 0.99)
    return frame[["step"]].assign(saturated_fraction=numpy.clip(1 - free / limit, 0.0, 1.0))


def _makes_output(run: Run, module: ModuleFacts) -> bool:
    """Whether this is the last child of an nn.Sequential, or the only bounded module and the last of all."""
    later = [other for other in run.meta.modules if other.id > module.id]
    path, _, place = module.name.rpartition(".")
    parent = next((other for other in run.meta.modules if other.name == path and other.id != module.id), None)
    if place.isdigit() and parent is not None and parent.module_class == "Sequential":
        return not any(other.name == f"{path}.{int(place) + 1}".removeprefix(".") for other in later)
    return not later and sum(_kind(other) in BOUNDED for other in run.meta.modules) == 1


def _one_sided(facts: LossFacts) -> bool:
    """Whether nearly all targets of a binary loss are the same."""
    mean = facts.target_mean
    return facts.function.startswith("binary") and mean is not None and not _RARE <= mean <= 1 - _RARE


def inferred_hidden(run: Run, module: ModuleFacts) -> "pandas.DataFrame | None":
    """The share of saturated outputs behind a Linear whose own inputs come from a bounded activation.

    What enters the activation has a root mean square of |inputs| |weights| for weights near their random start; trained
    ones let in more. The gradient of the weights over that of the bias tells the size of the inputs, which is no more
    than 1. None where the modules are not known to follow each other.
    """
    import pandas

    linear = _before(run, module)
    source = _before(run, linear) if linear is not None and linear.module_class == "Linear" else None
    if linear is None or source is None or _kind(source) not in BOUNDED:
        return None
    for training in run.trainings:
        tensors = training.tensors
        at = {t.role: i for i, t in enumerate(tensors) if t.module == linear.name and t.optimizer == training.id}
        if not {"weight", "bias"} <= set(at) or not weight_layers(training)[at["weight"]]:
            continue
        outputs, inputs = tensors[at["weight"]].shape
        gradients, norms = training.matrix("gradient_norm"), training.matrix("weight_norm")
        with numpy.errstate(divide="ignore", invalid="ignore"):
            size = gradients[:, at["weight"]] / gradients[:, at["bias"]] / math.sqrt(inputs)
        entering = numpy.hypot(
            numpy.minimum(size, 1.0) * norms[:, at["weight"]], norms[:, at["bias"]]
        ) / math.sqrt(outputs)  # fmt: skip
        share = _outside(entering, _BEYOND[_kind(module)])
        known = numpy.isfinite(share)
        steps = training.recorded_global_steps
        return pandas.DataFrame({"step": steps[known], "saturated_fraction": share[known]})
    return None


def _outside(deviation: Floats, limit: float) -> Floats:
    """The share of a normal distribution around 0 that lies beyond `limit` on either side."""
    return numpy.asarray([math.erfc(limit / (math.sqrt(2) * s)) if s > 0 else s * 0.0 for s in deviation.tolist()])


def _kind(module: ModuleFacts) -> str:
    return module.module_class.lower()


def _before(run: Run, module: ModuleFacts) -> ModuleFacts | None:
    """The module that comes before this one in an nn.Sequential, past what passes its input on."""
    known = {other.name: other for other in run.meta.modules}
    path, _, place = module.name.rpartition(".")
    parent = known.get(path)
    if not place.isdigit() or parent is None or parent.module_class != "Sequential":
        return None
    for index in range(int(place) - 1, -1, -1):
        other = known.get(f"{path}.{index}".removeprefix("."))
        if other is None or other.module_class not in _PASSES_ON:
            return other
    return None
