"""Patch: nn.Module.load_state_dict, which tells the keys that it found nothing for where it is not strict."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gradaudit.record import load_hooks, session
from gradaudit.record.patches import Patch, leave_out_of, replace


def install() -> list[Patch]:
    """Wrap what loads a checkpoint into a module and all inside it."""
    return [replace(nn.Module, "load_state_dict", _watched(nn.Module.load_state_dict))]


def _watched(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load_state_dict(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise
        if not torch.compiler.is_compiling():
            session.guarded(load_hooks.on_load, self, args, kwargs, result)
        return result

    return load_state_dict
