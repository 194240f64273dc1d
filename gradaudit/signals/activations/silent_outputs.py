"""Which outputs of the linear and convolution layers have had no gradient for a while: units that no longer learn."""

from dataclasses import dataclass

import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import TensorFacts
from gradaudit.signals.gradients.finiteness import breakdown
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.order_statistics import Floats, Integers
from gradaudit.signals.per_run import per_run
from gradaudit.signals.updates.ratios import recorded_global_steps

SILENT = 30  # recorded steps without a gradient after which the recorder calls an output silent


@dataclass(frozen=True, eq=False)
class SilentOutputs:
    """The outputs of one layer over the run; shares are of the outputs followed."""

    layer: TensorFacts
    steps: Integers  # [records] global steps
    without: Floats  # [records] share of the outputs without a gradient at that step
    outputs: int
    share: float  # silent over the last `SILENT` recorded steps at the end
    first: float  # share without a gradient at the first record
    felt: bool  # some tensor of the layer has a gradient at the end: its bias where the weights have none
    zero_input: bool  # the bias has a gradient and no weight has: every input of the layer is zero


@per_run
def silent_outputs(run: Run, optimizer: int) -> list[SilentOutputs]:
    """The trained layers whose outputs were followed to the end, in depth order.

    Layers that had no gradient at all at some recorded step (experts that were not chosen) are left out, and
    so are those that were followed for fewer than `SILENT` recorded steps. Of a run that breaks, the part before.
    """
    own = run.steps_of(optimizer)
    place = dict(zip(own["step"].tolist(), own["global_step"].tolist(), strict=True))
    frame = run.rows[run.rows["optimizer"] == optimizer]
    broken = breakdown(run, optimizer)
    finite = numpy.ones(len(run.recorded_steps(optimizer)), dtype=bool)
    if broken is not None and not broken.recovered:
        finite = recorded_global_steps(run, optimizer) < broken.step
        frame = frame[[place.get(step, step) < broken.step for step in frame["step"].tolist()]]
    recorded = run.recorded_steps(optimizer)[finite]
    if not len(frame) or len(recorded) < SILENT:
        return []
    layers = weight_layers(run, optimizer)
    tensors = run.tensors_of(optimizer)
    present = run.matrix("has_grad", optimizer)[finite] > 0
    late = run.matrix("gradient_norm", optimizer)[finite][-SILENT:]
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
        weight_felt = bool((late[:, column] > 0).any())
        bias_felt = bool(siblings) and bool((late[:, siblings] > 0).any())
        found.append(
            SilentOutputs(
                layer=layer,
                steps=numpy.asarray([place.get(step, step) for step in mine["step"].tolist()], dtype=numpy.int64),
                without=without,
                outputs=int(last["rows"]),
                share=share,
                first=float(without[0]),
                felt=weight_felt or bias_felt,
                zero_input=bias_felt and not weight_felt and share >= 1,
            )
        )
    return found
