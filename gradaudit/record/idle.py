"""Keeps the writer's thread idle while it must not run: during a fork, and during the capture of a CUDA graph."""

import threading
import time
from typing import Any

CAPTURED = "a CUDA graph was captured; steps and losses inside it are not recorded"
_PATIENCE = 2.0  # seconds
_forking = threading.local()  # `writer`: the lock that this thread took before a fork
_slow_until = 0.0  # the disk was too slow for a fork to wait for it
captures = 0  # of CUDA graphs, that are going on
_paused: Any = None  # the lock taken before the first of them


def _take(writer: Any) -> Any:
    """The lock that keeps the writer's thread idle, taken; None without a writer, or when it stays busy."""
    global _slow_until
    if writer is None:
        return None
    # On a slow disk not every fork waits: a DataLoader makes one for each worker.
    if writer.busy.acquire(timeout=_PATIENCE if time.monotonic() > _slow_until else 0.05):
        return writer.busy
    _slow_until = time.monotonic() + 30.0
    return None


def pause(writer: Any) -> None:
    """Keep the writer's thread away from the device."""
    global captures, _paused
    captures += 1
    if captures == 1:
        _paused = _take(writer)


def resume() -> None:
    """End a pause; the last one of several that overlap lets the writer go on."""
    global captures, _paused
    captures = max(0, captures - 1)
    if not captures:
        paused, _paused = _paused, None
        if paused is not None:
            paused.release()


def before_fork(writer: Any) -> None:
    """Wait for the writer's thread to be idle: a lock that it holds would stay taken in the child for ever."""
    _forking.writer = _take(writer)


def after_fork() -> None:
    """In the parent: let the writer go on."""
    writer, _forking.writer = getattr(_forking, "writer", None), None
    if writer is not None:
        writer.release()


def was_idle() -> bool:
    """In the child: whether the writer's thread was idle at the fork."""
    return getattr(_forking, "writer", None) is not None
