"""Patch: torch.compile and torch.jit.script, which take the hooks off a model, for `--activations` only."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

from gradaudit.record import hooks, session
from gradaudit.record.compiler import hide_from_compiler
from gradaudit.record.module_hooks import InputHook, OutputHook
from gradaudit.record.patches import Patch, leave_out_of, replace


def install() -> list[Patch]:
    """Take the hooks off before a module is compiled or scripted: both compile the hooks that they find."""
    for hook in (InputHook, OutputHook):
        hide_from_compiler(hook.__call__, callees=False)
    return [
        replace(torch.jit, "script", _scripting(torch.jit.script)),
        replace(torch, "compile", _compiling(torch.compile)),
    ]


def _scripting(original: Callable[..., Any]) -> Callable[..., Any]:
    known = inspect.signature(original).parameters

    @functools.wraps(original)
    def script(obj: Any, *args: Any, **kwargs: Any) -> Any:
        session.guarded(hooks.on_scripting, obj)
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
        session.guarded(hooks.on_compiling, model)
        try:
            return original(model, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise

    return compile
