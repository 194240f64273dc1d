"""Which modules a training calls, and in which order: looked at for a few steps, where parameters have no gradient.

A parameter that no gradient arrives at may belong to a module that forward never calls, or be cut off from the loss:
only the calls tell. One hook for all modules sees them, and is gone after those steps; no module of the script is
changed. Compiled and scripted models are left as they are.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from gradaudit.record.internals import tracing, transformed
from gradaudit.record.observe.activations import compiled_already
from gradaudit.record.observe.parameter_set import ParameterSet
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.record.observe.walking import steadily
from gradaudit.record.observers import Observers
from gradaudit.schema import ModuleFacts

CALLS = "calls of modules"  # observer
STEPS = 20  # over which calls are watched for: a part may be called in some of them only
MOST_MODULES = 5_000
_LOOKS = 5  # recorded steps of an optimizer: what has a gradient by then is used
# These call their parts in C++, or copies of them.
_ELSEWHERE = (torch.jit.ScriptModule, nn.DataParallel)


class Calls:
    """The calls of one recording; once for each optimizer that has parameters without a gradient beside others."""

    def __init__(
        self,
        table: TensorTable,
        observers: Observers,
        watch: Callable[[Callable[[nn.Module], bool]], RemovableHandle],
    ) -> None:
        self.table, self.observers = table, observers
        self._watch = watch  # the calls of modules that are wanted, until the handle is removed
        self._looks: dict[int, int] = {}  # of each optimizer
        self._handle: RemovableHandle | None = None
        self._watched: dict[int, weakref.ref[nn.Module]] = {}
        self._names: dict[int, str] = {}  # when the watch began
        self._order: dict[int, int] = {}  # of first calls, by the identity of the module
        self._with_gradient: set[int] = set()  # modules called under autograd
        self._steps = 0
        self._seen: dict[str, dict[str, Any]] = {}  # by the name of the module

    def look(
        self, parameter_set: ParameterSet, parameters: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor | None]
    ) -> None:
        """Begin to watch where some of an optimizer's parameters have no gradient and others have one."""
        if self._handle is not None or self._looks.get(parameter_set.optimizer, 0) >= _LOOKS:
            return
        self._looks[parameter_set.optimizer] = self._looks.get(parameter_set.optimizer, 0) + 1
        rows = zip(parameters, gradients, parameter_set.owned.tolist(), strict=True)
        missing = [gradient is None for parameter, gradient, owned in rows if owned and parameter.requires_grad]
        if not any(missing) or all(missing):
            return
        self._looks[parameter_set.optimizer] = _LOOKS
        roots = self.table.living_roots()
        modules = steadily(lambda: [module for root in roots for module in root.modules()])
        if len(modules) > MOST_MODULES or any(isinstance(module, _ELSEWHERE) for module in modules):
            return
        if any(compiled_already(root) for root in roots):
            return
        self._watched = {id(module): weakref.ref(module) for module in modules}
        self._names = self._names_now()
        # The step that is being made has called its modules already.
        self._order, self._with_gradient, self._steps = {}, set(), -1
        # Asked at each call of a module, without the recording's lock.
        self._handle = self._watch(lambda module: bool(self.observers.call(CALLS, self.wanted, module)))

    def wanted(self, module: nn.Module) -> bool:
        """Whether this call is news. What is evaluated is not trained, and tells nothing."""
        key = id(module)
        if key not in self._watched or key in self._with_gradient:
            return False
        return torch.is_grad_enabled() or (module.training and key not in self._order)

    def on_call(self, module: nn.Module) -> None:
        """A module is about to be called."""
        reference = self._watched.get(id(module))
        if reference is None or reference() is not module or tracing() or transformed():
            return
        self._order.setdefault(id(module), len(self._order))
        if torch.is_grad_enabled():
            self._with_gradient.add(id(module))

    @property
    def watching(self) -> bool:
        """Whether calls are watched for."""
        return self._handle is not None

    def stepped(self) -> None:
        """A step was made; after enough of them the hook goes."""
        if self._handle is None:
            return
        self._steps += 1
        if self._steps >= STEPS:
            self.end()

    def end(self) -> None:
        """Stop watching, and keep what was seen under the names that the modules have now."""
        if self._handle is None:
            return
        self.detach()
        # A second model gives all names a prefix; one that is gone by now had the names of the start.
        names = self._names_now() or self._names
        for key in self._watched if self._steps > 0 else ():
            if key in names:
                self._seen[names[key]] = {
                    "watched": self._steps,
                    "first_call": self._order.get(key, -1),
                    "without_gradient": key in self._order and key not in self._with_gradient,
                }
        self._watched = {}

    def _names_now(self) -> dict[int, str]:
        """The name in run.json of each module, by identity."""
        modules = self.table.modules
        return {key: modules[number].name for key, number in steadily(self.table.numbers_of_modules).items()}

    def detach(self) -> None:
        """Take the hook away."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.remove()

    def facts(self) -> list[ModuleFacts]:
        """The facts of the modules, with what was seen of their calls."""
        return [msgspec.structs.replace(module, **self._seen.get(module.name, {})) for module in self.table.modules]
