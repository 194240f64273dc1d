"""Patch: torch.nn.functional losses and torch.autograd.backward."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import torch

from gradaudit.record import every_step, hooks, session
from gradaudit.record.compiler import hide_from_compiler
from gradaudit.record.internals import transformed
from gradaudit.record.observe.loss.calls import arguments_of
from gradaudit.record.observe.loss.losses import FUNCTIONS
from gradaudit.record.observe.threads import inside_backward
from gradaudit.record.observers import LOSSES
from gradaudit.record.patches import Patch, functional, leave_out_of, pass_over, replace, scriptable

observed = threading.local()  # calls of loss functions that this thread has shown


def install() -> list[Patch]:
    """Wrap the loss functions and backward."""
    for ours in (session.guarded, every_step.on_loss, every_step.on_backward):
        hide_from_compiler(ours, callees=True)
    hide_from_compiler(inside_backward, callees=True)
    place = torch.nn.functional
    patches = [replace(place, name, _watched_loss(name, getattr(place, name))) for name in FUNCTIONS]
    return [*patches, replace(torch.autograd, "backward", _watched_backward(torch.autograd.backward))]


def _watched_loss(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    bind = arguments_of(original)

    @functools.wraps(original)
    def loss(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return original(*args, **kwargs)
        before = getattr(observed, "calls", 0)
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise
        # Under a function mode, or given a subclass, torch calls the function again from inside.
        if getattr(observed, "calls", 0) != before:
            return result
        seen = session.current() is not None and type(result) is torch.Tensor
        if seen and transformed():
            if functional.inside():
                session.guarded_call(LOSSES, functional.note_loss, name, result, bind, args, kwargs)
        elif seen:
            observed.calls = before + 1
            every_step.on_loss(name, result, bind, args, kwargs)
        return result

    return scriptable(loss, original)


def _watched_backward(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def backward(tensors: Any = None, grad_tensors: Any = None, *args: Any, **kwargs: Any) -> Any:
        recording = session.current()
        if recording is None or torch.compiler.is_compiling() or inside_backward():
            # Reentrant checkpointing calls backward inside backward: its roots are not losses.
            return original(tensors, grad_tensors, *args, **kwargs)
        roots = list(tensors) if isinstance(tensors, tuple | list) else [tensors]
        between = every_step.on_backward(roots, grad_tensors)
        try:
            result = original(tensors, grad_tensors, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise
        finally:
            if between is not None:
                between.running = False
        if between is not None and between.gradients.wanted:
            session.guarded(hooks.after_backward)
        if between is not None and between.by_hand:
            session.guarded(hooks.after_backward_by_hand)
        return result

    pass_over(backward)
    hide_from_compiler(backward, callees=False)
    return backward
