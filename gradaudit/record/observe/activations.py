"""What goes into a model and comes out of its activation modules, sampled through forward hooks, when asked for.

Compiled code is left as it is: with torch.compile the hooks are taken off, and the record says so.
"""

import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from gradaudit.record.internals import private, transformed
from gradaudit.record.measure.samples import Sample, take
from gradaudit.record.observe.naming import find_roots, unwrap
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.record.settings import Settings

EVERY = 10  # steps whose statistics are recorded, too
_INPUTS = 10  # samples of the model's input: it seldom changes
_MOST_MODULES = 512  # hooked; of more, evenly spaced ones
_UNSEEN = 3  # sampled steps without an output, after which the record says that there is none

# The forward pre-hook of a model, and the forward hook of an activation module.
Hooks = tuple[Callable[..., None], Callable[..., None]]
_RECTIFIED = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU)
_LIMITS: dict[type[nn.Module], tuple[float, float]] = {nn.Sigmoid: (0.01, 0.99), nn.Tanh: (-0.99, 0.99)}
_KINDS = (*_RECTIFIED, *_LIMITS)


class Activations:
    """The samples of one recording. Hooks stay until `detach`: a change of them would compile a model anew."""

    def __init__(self, table: TensorTable, event: Callable[[str, str], None], hooks: Hooks, settings: Settings) -> None:
        self.table, self.event, self.enabled = table, event, settings.samples_activations
        self._input_hook, self._output_hook = hooks
        self.due = self.input_due = self.enabled
        self._handles: list[Any] = []
        self._hooked: dict[int, weakref.ref[nn.Module]] = {}
        self._taken: list[tuple[weakref.ref[nn.Module], Sample]] = []
        self._seen: set[int] = set()  # modules sampled since the last step
        self._inputs, self._unseen = (0 if settings.data else _INPUTS), 0
        self._said = self._compiled = False

    def attach(self, parameters: Sequence[torch.Tensor]) -> None:
        """Hook the models that hold `parameters`, unless that was done."""
        if not self.enabled:
            return
        held = {id(p) for reference in self._hooked.values() if (root := reference()) for p in root.parameters()}
        missing = [parameter for parameter in parameters if id(parameter) not in held]
        if missing:
            self.attach_to(find_roots(missing))

    def attach_to(self, roots: Iterable[nn.Module]) -> None:
        """Hook these models."""
        for wrapped in roots:
            root = unwrap(wrapped)
            if self._compiled or compiled_already(wrapped):
                self.on_compiling()
                return
            if isinstance(root, torch.jit.ScriptModule) or id(root) in self._hooked:
                continue
            self._hooked[id(root)] = weakref.ref(root)
            # Inside these, torch takes another path where it finds a hook, and rounds differently.
            own = {id(part) for module in root.modules() if _has_a_fast_path(module) for part in module.modules()}
            if id(root) not in own:
                self._handles.append(root.register_forward_pre_hook(self._input_hook, with_kwargs=True))
            found = [module for module in root.modules() if isinstance(module, _KINDS) and id(module) not in own]
            for module in found[:: -(-len(found) // _MOST_MODULES) or 1]:
                self._handles.append(module.register_forward_hook(self._output_hook))

    def detach(self) -> None:
        """Remove the hooks."""
        while self._handles:
            self._handles.pop().remove()

    def on_compiling(self) -> None:
        """Something is about to be compiled, and code with hooks compiles to other graphs."""
        self._compiled = True
        self.detach()
        if self.enabled:
            self._say("activations are not sampled: torch.compile leaves no place to look without breaking its graphs")

    def on_scripting(self) -> None:
        """A module is about to be scripted, which would compile our hooks with it."""
        if self._handles:
            self.detach()
            self._say("activations are no longer sampled: torch.jit.script compiles the hooks of a module")

    def on_input(self, module: nn.Module, arguments: Iterable[Any]) -> None:
        """A hooked model was called; its first tensor is its input, if that is not of integers."""
        first = next((value for value in arguments if isinstance(value, torch.Tensor)), None)
        if not self.input_due or self._inputs == _INPUTS or first is None:
            return
        if first.is_floating_point() and self._wanted(module):
            self._inputs += 1
            self._keep(module, take("input", first, units=_units(first), features=True))

    def on_output(self, module: nn.Module, output: Any) -> None:
        """An activation module returned `output`."""
        if isinstance(output, torch.Tensor) and self._wanted(module):
            limits = next((limits for kind, limits in _LIMITS.items() if isinstance(module, kind)), None)
            self._keep(module, take("output", output, units=_units(output), rectified=limits is None, limits=limits))

    def _wanted(self, module: nn.Module) -> bool:
        return self.due and id(module) not in self._seen and torch.is_grad_enabled() and not transformed()

    def _keep(self, module: nn.Module, sample: Sample | None) -> None:
        self._seen.add(id(module))
        if sample is not None:
            self._taken.append((weakref.ref(module), sample))

    def take(self, due_next: bool, input_next: bool) -> list[tuple[int, Sample]]:
        """The samples since the last step, each with its module's index in run.json.

        `due_next`: take more, and with `input_next` of the model's input, too.
        """
        due, self.due, self.input_due = self.due, due_next and self.enabled, input_next
        taken, self._taken = self._taken, []
        self._seen.clear()
        if not due or not self._handles:
            return []
        self._unseen = 0 if any(sample.kind == "output" for _, sample in taken) else self._unseen + 1
        if self._unseen == _UNSEEN:
            self._say(
                "no activation was sampled: the model calls no activation module, and functions such as torch.relu "
                "cannot be seen"
            )
        numbers = self.table.numbers_of_modules() if taken else {}
        return [
            (numbers[id(module)], sample)
            for reference, sample in taken
            if (module := reference()) is not None and id(module) in numbers
        ]

    def _say(self, message: str) -> None:
        if not self._said:
            self._said = True
            self.event("activations", message)


def _units(tensor: torch.Tensor) -> int:
    """The dimension of features: the last of [batch, features] and [batch, positions, features], else channels."""
    return -1 if tensor.ndim in (2, 3) else 1


def _has_a_fast_path(module: nn.Module) -> bool:
    return isinstance(module, nn.TransformerEncoder | nn.TransformerEncoderLayer | nn.MultiheadAttention)


def compiled_already(root: nn.Module) -> bool:
    """Whether a model was compiled, or the compiler has seen any frame, before we were there to notice."""
    if private(sys.modules.get("torch._dynamo.convert_frame"), "FRAME_COUNTER", 0):
        return True
    return any(
        type(module).__name__ == "OptimizedModule" or private(module, "_compiled_call_impl") is not None
        for module in root.modules()
    )
