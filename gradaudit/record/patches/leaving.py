"""Seam: os._exit, which ends a process without its exit handlers, and the exit codes of multiprocessing's children."""

import functools
import os
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from gradaudit.record import session
from gradaudit.record.patches import Patch, leave_out_of, replace


def install() -> list[Patch]:
    """Wrap os._exit, by which forked children end, and what runs a child, whose exit code spawned ones pass on."""
    run: Any = BaseProcess._bootstrap  # type: ignore[attr-defined]
    return [replace(os, "_exit", _watched(os._exit)), replace(BaseProcess, "_bootstrap", _told(run))]


def _watched(original: Callable[[int], Any]) -> Callable[[int], Any]:
    @functools.wraps(original)
    def _exit(status: int) -> Any:
        if isinstance(status, int):
            session.leave(status)
        try:
            return original(status)
        except BaseException as error:
            leave_out_of(error)
            raise

    _exit.__module__ = "os"  # pickle looks there
    return _exit


def _told(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _bootstrap(self: Any, *args: Any, **kwargs: Any) -> Any:
        code = original(self, *args, **kwargs)
        if isinstance(code, int):
            session.note_exit_code(code)
        return code

    return _bootstrap
