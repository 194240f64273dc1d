"""Seam: os._exit, which ends a process without its exit handlers; so forked children of multiprocessing end."""

import functools
import os
from collections.abc import Callable
from typing import Any

from gradaudit.record import session
from gradaudit.record.patches import Patch, replace


def install() -> list[Patch]:
    """Wrap os._exit."""
    return [replace(os, "_exit", _watched(os._exit))]


def _watched(original: Callable[[int], Any]) -> Callable[[int], Any]:
    @functools.wraps(original)
    def _exit(status: int) -> Any:
        if isinstance(status, int):
            session.leave(status)
        return original(status)

    _exit.__module__ = "os"  # pickle looks there
    return _exit
