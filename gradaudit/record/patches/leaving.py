"""Patches: os._exit and exec, which end a process without its exit handlers, and multiprocessing's exit codes."""

import functools
import os
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess, parent_process
from typing import Any

from gradaudit.record import session
from gradaudit.record.patches import Patch, leave_out_of, replace


def install() -> list[Patch]:
    """Wrap os._exit, by which forked children end, what replaces a process, and what tells a child's exit code."""
    run: Any = BaseProcess._bootstrap  # type: ignore[attr-defined]
    # The other functions of the exec family call these two.
    patches = [replace(os, name, _replaced(getattr(os, name))) for name in ("execv", "execve")]
    if parent_process() is not None:
        # Torch is imported inside of `_bootstrap`: the last one who exits here is multiprocessing, with the true code.
        patches.append(replace(sys, "exit", _noted(sys.exit)))
    return [replace(os, "_exit", _watched(os._exit)), replace(BaseProcess, "_bootstrap", _told(run)), *patches]


def _replaced(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def execute(*args: Any, **kwargs: Any) -> Any:
        session.leave(None)
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise

    execute.__module__ = "os"
    return execute


def _noted(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def exit(*args: Any) -> Any:
        code = args[0] if args else None
        session.note_exit_code(code if isinstance(code, int) else int(code is not None))
        try:
            return original(*args)
        except BaseException as error:
            leave_out_of(error)
            raise

    return exit


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
