"""Patch: DataLoader, which tells how many batches an epoch has."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader

from gradaudit.record import hooks, session
from gradaudit.record.patches import Patch, leave_out_of, replace


def install() -> list[Patch]:
    """Wrap DataLoader.__iter__."""
    return [replace(DataLoader, "__iter__", _watched(DataLoader.__iter__))]


def _watched(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __iter__(self: Any) -> Any:
        if session.current() is not None and torch.utils.data.get_worker_info() is None:
            session.guarded(hooks.on_loader, self)
        try:
            return original(self)
        except BaseException as error:
            leave_out_of(error)
            raise

    return __iter__
