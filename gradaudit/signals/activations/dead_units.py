"""Which outputs of the linear and convolution layers have had no gradient for a while: units that no longer learn."""

from dataclasses import dataclass

import numpy

from gradaudit.schema import TensorFacts
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.order_statistics import Floats, Integers
from gradaudit.training import Training, signal

SILENT = 30  # recorded steps without a gradient after which the recorder calls an output silent


@dataclass(frozen=True, eq=False)
class DeadUnits:
    """The outputs of one layer over the run; shares are of the outputs followed."""

    layer: TensorFacts
    steps: Integers  # [records] global steps
    without: Floats  # [records] share of the outputs without a gradient at that step
    outputs: int
    share: float  # silent over the last `SILENT` recorded steps at the end
    first: float  # share without a gradient at the first record
    has_nonzero_grad: bool  # some tensor of the layer has a gradient at the end: its bias where the weights have none
    zero_input: bool  # the bias has a gradient and no weight has: every input of the layer is zero


@signal
def dead_units(training: Training) -> list[DeadUnits]:
    """The trained layers whose outputs were followed to the end, in depth order.

    Layers that had no gradient at all at some recorded step (experts that were not chosen) are left out, and
    so are those that were followed for fewer than `SILENT` recorded steps. Of a run that breaks, the part before.
    """
    own = training.steps
    place = dict(zip(own["step"].tolist(), own["global_step"].tolist(), strict=True))
    frame = training.run.rows[training.run.rows["optimizer"] == training.id]
    broken = non_finite_onset(training)
    finite = numpy.ones(len(training.recorded), dtype=bool)
    if broken is not None and not broken.recovered:
        finite = training.recorded_global_steps < broken.step
        frame = frame[[place.get(step, step) < broken.step for step in frame["step"].tolist()]]
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
