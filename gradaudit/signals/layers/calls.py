"""What becomes of parameters without a gradient, by the calls of their modules: never called, not used, or cut off."""

from typing import Literal

import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import ModuleFacts, TensorFacts
from gradaudit.signals.order_statistics import Mask
from gradaudit.training import Training, signal

# "not called": no step calls the module. "not used": the module is called, and it or its parts train without this
# tensor. "dropped": it is called after something that trains, and the loss does not rest on its result. "cut off": it
# is called before anything that trains, so that its result is what the rest is given.
Use = Literal["unknown", "not called", "not used", "dropped", "cut off", "cut off by no_grad"]


@signal
def uses(training: Training) -> dict[int, Use]:
    """By id of each of the optimizer's tensors that never had a gradient: as far as calls were watched for."""
    tensors = [tensor for tensor in training.tensors if tensor.optimizer == training.id]
    present: Mask = numpy.asarray((training.matrix("has_grad") > 0).any(axis=0))
    has_nonzero_grad = {training.tensors[place].id for place in numpy.flatnonzero(present).tolist()}
    modules = {module.name: module for module in training.run.meta.modules}
    trained = {t.module for t in tensors if t.id in has_nonzero_grad and t.module_class}
    around = trained | {outer for name in trained for outer in _around(name)}
    # A module that holds others is called before them, whenever it uses parameters of its own.
    hold = {outer for t in training.run.meta.tensors if t.module_class for outer in _around(t.module)}
    called = [modules[name].first_call for name in trained - hold if name in modules]
    first = min((place for place in called if place >= 0), default=-1)
    return {
        t.id: _use(t.module, modules, around, first) if t.module_class else "unknown"
        for t in tensors
        if t.id not in has_nonzero_grad
    }


def use_of(run: Run, tensor: TensorFacts) -> Use:
    """The same of one tensor."""
    return uses(run.training(tensor.recorded_with)).get(tensor.id, "unknown")


def called_under_autograd(run: Run, tensor: TensorFacts) -> bool:
    """Whether the module of a tensor, or the nearest one around it that is called, was called with a gradient."""
    modules = {module.name: module for module in run.meta.modules}
    places = (modules[name] for name in (tensor.module, *_around(tensor.module)) if name in modules)
    called = next((module for module in places if module.first_call >= 0), None)
    return called is not None and not called.without_gradient


def _around(name: str) -> list[str]:
    """The names of the modules that a module is part of, the nearest first; that of the outermost is empty."""
    steps = name.split(".") if name else []
    return [".".join(steps[:length]) for length in range(len(steps) - 1, -1, -1)]


def _use(name: str, modules: dict[str, ModuleFacts], around: set[str], first: int) -> Use:
    """A part that is never called itself may be used by what it is part of, where that has no gradient either."""
    if name not in modules or not modules[name].watched:
        return "unknown"
    called = (place for place in (name, *_around(name)) if place in modules and modules[place].first_call >= 0)
    place = next(called, None)
    if place is None:
        return "not called"
    module = modules[place]
    if place in around:
        return "not used" if place == name else "not called"
    if first < 0:
        return "unknown"
    if module.first_call > first:
        return "dropped"
    return "cut off by no_grad" if module.without_gradient else "cut off"
