"""How saturated each sigmoid and tanh of a model is, as its samples tell, or what is certain without them."""

from typing import TYPE_CHECKING

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import ModuleFacts
from gradaudit.signals.activations.inferred_saturation import BOUNDED, inferred_hidden, inferred_output
from gradaudit.signals.activations.module_samples import SAMPLES, activation_outputs
from gradaudit.signals.order_statistics import Floats, Integers, median
from gradaudit.signals.run.last_tenth import reaches, steps_of_run

if TYPE_CHECKING:
    import pandas

_BEGINNING = 10  # steps


class Saturation(msgspec.Struct, frozen=True, eq=False):
    """The share of an activation's outputs that lie where it is flat."""

    module: ModuleFacts
    ends: bool  # no layer of its model comes behind it
    steps: Integers  # global steps at which it is known
    shares: Floats  # [steps]

    @property
    def first(self) -> float:
        """At the first step."""
        return float(self.shares[0])

    @property
    def early(self) -> float:
        """The median of the first steps."""
        return median(self.shares[:_BEGINNING])

    @property
    def last(self) -> float:
        """The median of the last samples, which is what a module has come to."""
        return median(self.shares[numpy.isfinite(self.shares)][-SAMPLES:])


def bounded_activations(run: Run) -> list[ModuleFacts]:
    """The sigmoids and tanhs of the model, in the order of registration."""
    return [module for module in run.meta.modules if module.module_class.lower() in BOUNDED]


def sampled_saturation(run: Run) -> list[Saturation]:
    """Of each of them that was sampled at several steps."""
    found = []
    for module in bounded_activations(run):
        frame = activation_outputs(run, module.id)
        frame = frame[frame["saturated_fraction"].notna()]
        if len(frame) >= SAMPLES:
            found.append(_saturation(run, module, frame))
    return found


def inferred_saturation(run: Run) -> list[Saturation]:
    """The least that is certain without a sample of their outputs, of those of which it is known to the end."""
    bounded = bounded_activations(run)
    found = []
    for module in bounded:
        last = makes_output(run, module) and module is bounded[-1]
        frame = inferred_output(run, module) if last else inferred_hidden(run, module)
        if frame is None or len(frame) < 2 * SAMPLES:
            continue
        if reaches(float(frame["step"].iloc[-1]), steps_of_run(run)):
            found.append(_saturation(run, module, frame))
    return found


def makes_output(run: Run, module: ModuleFacts) -> bool:
    """Whether no module of its model with parameters of its own is registered after this one: it makes the output."""
    owners = {tensor.module for tensor in run.meta.tensors}
    # Of several models, as a generator and a discriminator, each name begins with the model's.
    several = all(other.name for other in run.meta.modules)
    model = module.name.partition(".")[0] if several else ""
    return not any(
        other.id > module.id and other.name in owners and (not several or other.name.partition(".")[0] == model)
        for other in run.meta.modules
    )


def _saturation(run: Run, module: ModuleFacts, frame: "pandas.DataFrame") -> Saturation:
    return Saturation(
        module=module,
        ends=makes_output(run, module),
        steps=frame["step"].to_numpy(),
        shares=frame["saturated_fraction"].to_numpy(dtype=float),
    )
