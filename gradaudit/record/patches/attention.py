"""Patch: torch's attention, which tells of its masks in training, and of its active dropout in evaluations."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch

from gradaudit.record import hooks, session
from gradaudit.record.internals import private
from gradaudit.record.observe.batches import BATCHES
from gradaudit.record.observe.batches.attention import fused, weighing
from gradaudit.record.patches import Patch, leave_out_of, replace, scriptable

_FUSED, _WHOLE = "scaled_dot_product_attention", "multi_head_attention_forward"


def install() -> list[Patch]:
    """Wrap the functions that every attention of torch calls."""
    place = torch.nn.functional
    patches = [replace(place, _WHOLE, _weighing(getattr(place, _WHOLE)))]
    # Scripted code finds a built-in function by its identity.
    register = private(sys.modules.get("torch.jit._builtins"), "_register_builtin")
    if register is not None:
        attention = _attending(getattr(place, _FUSED))
        register(attention, f"aten::{_FUSED}")
        patches.append(replace(place, _FUSED, attention))
    return patches


# Made once and kept: scripted code knows it by its address, which another function would get once it is gone.
@functools.cache
def _attending(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def scaled_dot_product_attention(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or session.current() is None:
            return original(*args, **kwargs)
        if not torch.is_grad_enabled():
            p = args[4] if len(args) > 4 else kwargs.get("dropout_p", 0.0)
            if p:
                session.guarded(hooks.on_active, _FUSED, p, False)
        elif session.unlocked_call(BATCHES, _wanted):
            session.guarded(hooks.on_attention, fused, args, kwargs)
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise

    return scaled_dot_product_attention


def _weighing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def multi_head_attention_forward(*args: Any, **kwargs: Any) -> Any:
        # Without weights to return it calls the fused function.
        wanted = not torch.compiler.is_compiling() and kwargs.get("need_weights", True)
        if wanted and session.unlocked_call(BATCHES, _wanted):
            session.guarded(hooks.on_attention, weighing, args, kwargs)
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise

    return scriptable(multi_head_attention_forward, original)


def _wanted() -> bool:
    recording = session.current()
    return recording is not None and recording.gathered.batches.wants_attention()
