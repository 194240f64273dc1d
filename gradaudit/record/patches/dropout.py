"""Patch: torch.nn.functional's dropout and attention, which tell where they are active in evaluations.

Where gradients are enabled nothing is looked at: a training pays for one call of Python.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch

from gradaudit.record import hooks, session
from gradaudit.record.internals import private
from gradaudit.record.patches import Patch, leave_out_of, replace, scriptable

NAMES = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
_ATTENTION = "scaled_dot_product_attention"


def install() -> list[Patch]:
    """Wrap the functions that every dropout module and attention call."""
    place = torch.nn.functional
    patches = [replace(place, name, _watched(name, getattr(place, name))) for name in NAMES if hasattr(place, name)]
    # Scripted code finds a built-in function by its identity.
    register = private(sys.modules.get("torch.jit._builtins"), "_register_builtin")
    if register is not None:
        attention = _attending(getattr(place, _ATTENTION))
        register(attention, f"aten::{_ATTENTION}")
        patches.append(replace(place, _ATTENTION, attention))
    return patches


def _watched(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    known = inspect.signature(original).parameters
    default = known["training"].default

    @functools.wraps(original)
    def dropout(*args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or session.current() is None:
            return original(*args, **kwargs)
        p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
        said = len(args) > 2 or "training" in kwargs
        training = args[2] if len(args) > 2 else kwargs.get("training", default)
        if training and p:
            session.guarded(hooks.on_active, name, p, said)
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise

    return scriptable(dropout, original)


# Made once and kept: scripted code knows it by its address, which another function would get once it is gone.
@functools.cache
def _attending(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def scaled_dot_product_attention(*args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or session.current() is None:
            return original(*args, **kwargs)
        p = args[4] if len(args) > 4 else kwargs.get("dropout_p", 0.0)
        if p:
            session.guarded(hooks.on_active, _ATTENTION, p, False)
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise

    return scaled_dot_product_attention
