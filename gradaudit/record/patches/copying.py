"""Patch: nn.Module.__setstate__, which shows modules that are copied or unpickled: those register nothing."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gradaudit.record import session
from gradaudit.record.observe import naming
from gradaudit.record.observers import NAMES
from gradaudit.record.patches import Patch, leave_out_of, replace


def install() -> list[Patch]:
    """Wrap what copy.deepcopy and pickle call."""
    return [replace(nn.Module, "__setstate__", _watched(nn.Module.__setstate__))]


def _watched(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __setstate__(self: Any, state: Any) -> None:
        try:
            original(self, state)
        except BaseException as error:
            leave_out_of(error)
            raise
        if not torch.compiler.is_compiling():
            session.unlocked_call(NAMES, naming.remember, self)

    return __setstate__
