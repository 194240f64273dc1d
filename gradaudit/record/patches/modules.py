"""Seam: forward hooks on a model and its activation modules, for `--activations` only."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gradaudit.record import hooks, session
from gradaudit.record.internals import tracing
from gradaudit.record.patches import Patch, hide_from_compiler, leave_out_of, replace


class _Hook:
    """A forward hook that a copied or saved model does not take along."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A model saved whole must load where gradaudit is not installed; this method takes anything and does nothing.
        return getattr, (contextlib.nullcontext(), "__exit__")


class _Input(_Hook):
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not torch.compiler.is_compiling() and not tracing():
            session.guarded(hooks.on_module_input, module, (*args, *kwargs.values()))


class _Output(_Hook):
    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not torch.compiler.is_compiling() and not tracing():
            session.guarded(hooks.on_module_output, module, output)


INPUT, OUTPUT = _Input(), _Output()


def install() -> list[Patch]:
    """Take the hooks off before a module is compiled or scripted: both compile the hooks that they find."""
    for hook in (_Input, _Output):
        hide_from_compiler(hook.__call__, callees=False)
    return [
        replace(torch.jit, "script", _scripting(torch.jit.script)),
        replace(torch, "compile", _compiling(torch.compile)),
    ]


def _scripting(original: Callable[..., Any]) -> Callable[..., Any]:
    known = inspect.signature(original).parameters

    @functools.wraps(original)
    def script(obj: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(obj, nn.Module):
            session.guarded(hooks.on_scripting)
        if not args and "_frames_up" in known:
            # It looks up names in the frames of its caller, which is one further away.
            kwargs["_frames_up"] = kwargs.get("_frames_up", 0) + 1
        try:
            return original(obj, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise

    return script


def _compiling(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def compile(model: Any = None, *args: Any, **kwargs: Any) -> Any:
        # An optimizer's step calls no module.
        if model is not None and not isinstance(getattr(model, "__self__", None), torch.optim.Optimizer):
            session.guarded(hooks.on_compiling)
        try:
            return original(model, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise

    return compile
