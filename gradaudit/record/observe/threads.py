"""What each thread trains on its own: losses, backward passes and steps of one thread are not those of another.

A thread may touch the gradients of what it trains itself and of nothing else: the autograd engine replaces a
tensor's `.grad` without the interpreter's lock, and whoever reads it at that moment reads freed memory.
"""

import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

from gradaudit.record.internals import private

T = TypeVar("T")

_MOST = 256  # threads kept, those that ended included; a script may start one for every step
_MOST_NODES = 50_000  # of a graph that are looked at for its leaves


_running_loop: Callable[[], Any] | None = None  # asyncio's own, once the script has imported it


def _task() -> Any:
    """The asyncio task that is running in this thread; None without one."""
    global _running_loop
    if _running_loop is None:
        asyncio = sys.modules.get("asyncio.events")
        _running_loop = getattr(asyncio, "_get_running_loop", None)
        if _running_loop is None:
            return None
    # Asked for the running loop, asyncio answers in 50 ns whether there is one.
    loop = _running_loop()
    return None if loop is None else sys.modules["asyncio"].current_task(loop)


def inside_backward() -> bool:
    """Whether this thread is executing a backward: then what calls backward again is checkpointing, not a loss."""
    current = private(torch._C, "_current_graph_task_id")
    return current is not None and bool(current() != -1)


def leaves(roots: Any) -> set[int] | None:
    """The identities of the tensors that a backward from `roots` gives gradients to; None of too large a graph."""
    found: set[int] = set()
    queue = [root.grad_fn for root in roots if isinstance(root, torch.Tensor) and root.grad_fn is not None]
    seen = set(queue)
    while queue and len(seen) < _MOST_NODES:
        node = queue.pop()
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found.add(id(leaf))
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                queue.append(parent)
    return None if queue else found


class PerThread(Generic[T]):
    """One state for each thread, made when the thread first asks for it. Used under the recording's lock."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._states: dict[int, T] = {}
        self._tasks: dict[int, weakref.ref[Any]] = {}

    def mine(self) -> T:
        """The state of this thread, or of this asyncio task."""
        if _running_loop is not None and _running_loop() is None:
            state = self._states.get(threading.get_ident())
            if state is not None:
                return state
        task = _task()
        key = threading.get_ident() if task is None else id(task)
        state = self._states.get(key)
        if state is not None and task is not None and self._tasks[key]() is not task:
            state = None  # the address of a task that is gone
        if state is None:
            if len(self._states) >= _MOST:
                # Dictionaries keep their order: the first ones are the oldest.
                self._forget(next((key for key in self._states if self._has_ended(key)), next(iter(self._states))))
            state = self._states[key] = self._make()
            if task is not None:
                self._tasks[key] = weakref.ref(task)
        return state

    def _forget(self, key: int) -> None:
        del self._states[key]
        self._tasks.pop(key, None)

    def _has_ended(self, key: int) -> bool:
        if key not in self._tasks:
            return key not in sys._current_frames()
        task = self._tasks[key]()
        return task is None or bool(task.done())

    def others(self) -> list[T]:
        """The states of all other threads, the oldest first."""
        if len(self._states) < 2:
            self.mine()  # makes the one there is
            if len(self._states) < 2:
                return []
        mine = self.mine()
        return [state for state in self._states.values() if state is not mine]

    def ended(self) -> list[T]:
        """The states of the threads and tasks that run no longer."""
        return [state for key, state in self._states.items() if self._has_ended(key)]

    def all(self) -> list[T]:
        """The states of all threads."""
        return list(self._states.values())
