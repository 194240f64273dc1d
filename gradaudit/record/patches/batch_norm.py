"""Patch: torch.nn.functional.batch_norm, which tells how many values a channel is normalised over, and its mode."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from gradaudit.record import hooks, session
from gradaudit.record.observe.batch_norm import awaited, known
from gradaudit.record.patches import Patch, leave_out_of, replace, scriptable


def install() -> list[Patch]:
    """Wrap the function that every BatchNorm module calls."""
    functional = torch.nn.functional
    return [replace(functional, "batch_norm", _watched(functional.batch_norm))]


def _watched(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def batch_norm(
        input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
        training: bool = False, *args: Any, **kwargs: Any,
    ) -> Any:  # fmt: skip
        if torch.compiler.is_compiling():
            return original(input, running_mean, running_var, weight, bias, training, *args, **kwargs)
        key = running_mean if weight is None else weight
        if training and session.current() is not None:
            if not known(key):
                session.guarded(hooks.on_batch_norm, key, input)
            # Without running statistics those of the batch are all there is, in evaluation mode, too.
            if running_mean is not None and not torch.is_grad_enabled():
                session.guarded(hooks.on_active, "batch_norm", 0.0, True)
        elif awaited(key) and not training and not torch.is_grad_enabled() and session.current() is not None:
            session.guarded(hooks.on_batch_norm, key, None)
        try:
            return original(input, running_mean, running_var, weight, bias, training, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise

    return scriptable(batch_norm, original)
