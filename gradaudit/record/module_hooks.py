"""The hooks of modules: on a model and its activation modules, when asked for, and on all while calls are watched."""

import contextlib
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from gradaudit.record import hooks
from gradaudit.record.compiler import hide_from_compiler
from gradaudit.record.internals import tracing
from gradaudit.record.recording import Recording

P = ParamSpec("P")
R = TypeVar("R")


class Guard(Protocol):
    """`session.guarded`, or what takes its place."""

    def __call__(
        self, hook: Callable[Concatenate[Recording, P], R], *arguments: P.args, **keywords: P.kwargs
    ) -> R | None:
        """Call a hook on the recording."""


class _Hook:
    """A forward hook that a copied or saved model does not take along."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard

    def __reduce__(self) -> tuple[Any, ...]:
        # A model saved whole must load where gradaudit is not installed; this method takes anything and does nothing.
        return getattr, (contextlib.nullcontext(), "__exit__")


class InputHook(_Hook):
    """A forward pre-hook of a model."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The model is about to be called."""
        if not torch.compiler.is_compiling() and not tracing():
            self.guard(hooks.on_module_input, module, (*args, *kwargs.values()))


class OutputHook(_Hook):
    """A forward hook of an activation module."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """The module returned `output`."""
        if not torch.compiler.is_compiling() and not tracing():
            self.guard(hooks.on_module_output, module, output)


class ModuleHooks:
    """What a recording puts on modules, each calling it through `guard`."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.input, self.output = InputHook(guard), OutputHook(guard)

    def watch_calls(self, wanted: Callable[[nn.Module], bool]) -> RemovableHandle:
        """Tell the recording of each call of a module that is `wanted`; returns the handle that ends it."""
        guard = self.guard

        def on_call(module: nn.Module, args: Any) -> None:
            if not torch.compiler.is_compiling() and wanted(module):
                guard(hooks.on_module_call, module)

        hide_from_compiler(on_call, callees=True)
        return nn.modules.module.register_module_forward_pre_hook(on_call)

    def watch_inputs(self, wanted: Callable[[nn.Module], bool]) -> RemovableHandle:
        """Tell the recording what each module that is `wanted` is called with; returns the handle that ends it."""
        guard = self.guard

        def on_call(module: nn.Module, args: Any) -> None:
            if not torch.compiler.is_compiling() and not tracing() and wanted(module):
                guard(hooks.on_copy_call, module, args)

        hide_from_compiler(on_call, callees=True)
        return nn.modules.module.register_module_forward_pre_hook(on_call)
