"""Which outputs of the linear and convolution layers have had no gradient for a while: units that no longer learn."""

import math
from typing import Literal

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import TensorFacts
from gradaudit.signals.activations.module_samples import (
    activation_outputs,
    last_samples,
    loss_inputs,
    sampled_activations,
)
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.order_statistics import Floats, Integers
from gradaudit.training import Training, signal

SILENT = 30  # recorded steps without a gradient after which the recorder calls an output silent


When = Literal["during", "before", "both"]  # outputs died during training, before it, or some of each


class DeadUnits(msgspec.Struct, frozen=True, eq=False):
    """The outputs of one layer over the run; shares are of the outputs followed."""

    layer: TensorFacts
    steps: Integers  # [records] global steps
    without: Floats  # [records] share of the outputs without a gradient at that step
    outputs: int
    share: float  # silent over the last `SILENT` recorded steps at the end
    first: float  # share without a gradient at the first record
    has_nonzero_grad: bool  # some tensor of the layer has a gradient at the end: its bias where the weights have none
    zero_input: bool  # the bias has a gradient and no weight has: every input of the layer is zero

    @property
    def inputs(self) -> int:
        """How many each output has."""
        outputs = self.layer.shape[max(self.layer.output_axis, 0)]
        return max(1, self.layer.elements // max(1, outputs))


def broken_from(training: Training) -> int | None:
    """The global step from which on the run is NaN or infinite to its end; None where it is not."""
    onset = non_finite_onset(training)
    return onset.step if onset is not None and not onset.recovered else None


def outputs_followed(training: Training) -> bool:
    """Whether the optimizer has layers whose outputs can be followed, or some were."""
    rows = training.run.rows
    followed = (rows["optimizer"] == training.id) & (rows["moved"] < 0)
    return bool(followed.any()) or any(t.output_axis >= 0 and t.optimizer >= 0 for t in training.tensors)


@signal
def dead_units(training: Training) -> list[DeadUnits]:
    """The trained layers whose outputs were followed to the end, in depth order.

    Layers that had no gradient at all at some recorded step (experts that were not chosen) are left out, and
    so are those that were followed for fewer than `SILENT` recorded steps. Of a run that breaks, the part before.
    """
    own = training.steps
    place = dict(zip(own["step"].tolist(), own["global_step"].tolist(), strict=True))
    frame = training.run.rows[training.run.rows["optimizer"] == training.id]
    broken = broken_from(training)
    finite = numpy.ones(len(training.recorded), dtype=bool)
    if broken is not None:
        finite = training.recorded_global_steps < broken
        frame = frame[[place.get(step, step) < broken for step in frame["step"].tolist()]]
    recorded = training.recorded[finite]
    if not len(frame) or len(recorded) < SILENT:
        return []
    layers = weight_layers(training)
    tensors = training.tensors
    present = training.matrix("has_grad")[finite] > 0
    late = training.matrix("gradient_norm")[finite][-SILENT:]
    found = []
    for column in numpy.flatnonzero(layers & present.all(axis=0)).tolist():
        layer = tensors[column]
        mine = frame[(frame["tensor"] == layer.id) & (frame["moved"] < 0)]
        if not len(mine):
            continue
        tracked = numpy.maximum(mine["tracked"].to_numpy(dtype=float), 1)
        without = 1 - mine["hit"].to_numpy(dtype=float) / tracked
        last = mine.iloc[-1]
        share = float(last["silent"]) / tracked[-1]
        siblings = [i for i, t in enumerate(tensors) if t.module == layer.module and i != column and t.role == "bias"]
        weight_has_grad = bool((late[:, column] > 0).any())
        bias_has_grad = bool(siblings) and bool((late[:, siblings] > 0).any())
        found.append(
            DeadUnits(
                layer=layer,
                steps=numpy.asarray([place.get(step, step) for step in mine["step"].tolist()], dtype=numpy.int64),
                without=without,
                outputs=int(last["rows"]),
                share=share,
                first=float(without[0]),
                has_nonzero_grad=weight_has_grad or bias_has_grad,
                zero_input=bias_has_grad and not weight_has_grad and share >= 1,
            )
        )
    return found


def idle_head(layer: DeadUnits, layers: list[DeadUnits]) -> bool:
    """Whether this ends the model with some outputs that the loss did not ask for, as a value per action is.

    A head that is not the last layer, as a policy's before a value's, has nothing after it that is made for its
    outputs, and those that are masked were silent from the first record on.
    """
    if layer is layers[-1]:
        return layer.has_nonzero_grad
    behind = layers[layers.index(layer) + 1 :]
    fed = any(other.layer.shape[1] % layer.outputs == 0 for other in behind if len(other.layer.shape) > 1)
    return (
        layer.has_nonzero_grad
        and not fed
        and layer.first >= layer.share
        and any(other.has_nonzero_grad for other in behind)
    )


def lost_behind_the_model(training: Training) -> bool:
    """Whether every gradient is zero from the first step on, and no dead output is why: the loss's input varies."""
    if (training.matrix("gradient_norm") > 0).any() or len(training.run.meta.losses) != 1:
        return False
    spread = loss_inputs(training.run, training.run.meta.losses[0].id)["std"].to_numpy(dtype=float)
    return len(spread) > 0 and bool((spread > 0).all())


class DeadSample(msgspec.Struct, frozen=True):
    """What the samples of the activation behind a layer say of it."""

    activation: str  # name of its module
    share: float  # of the units that were zero for every example, in the last samples


def sample_behind(run: Run, layer: TensorFacts) -> DeadSample | None:
    """The samples of the first activation that is registered behind a layer; None where none was taken."""
    places = {module.name: module.id for module in run.meta.modules}
    own = places.get(layer.module)
    behind = [module for module in sampled_activations(run) if own is not None and module > own]
    if not behind:
        return None
    share = last_samples(activation_outputs(run, behind[0]), "dead_fraction")
    name = next((module.name for module in run.meta.modules if module.id == behind[0]), "")
    return DeadSample(name, share) if math.isfinite(share) else None
