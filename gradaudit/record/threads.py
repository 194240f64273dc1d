"""What each thread trains on its own: losses, backward passes and steps of one thread are not those of another.

A thread may touch the gradients of what it trains itself and of nothing else: the autograd engine replaces a
tensor's `.grad` without the interpreter's lock, and whoever reads it at that moment reads freed memory.
"""

import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

from gradaudit.record.internals import private

T = TypeVar("T")

_MOST = 256  # threads kept, those that ended included; a script may start one for every step
_MOST_NODES = 50_000  # of a graph that are looked at for its leaves


def here() -> int:
    """What tells this thread from the others; in a coroutine, its asyncio task."""
    asyncio = sys.modules.get("asyncio")
    # Asked for the running loop, asyncio answers in 50 ns whether there is one.
    loop = asyncio.events._get_running_loop() if asyncio is not None else None
    if loop is not None:
        task = asyncio.current_task(loop)  # type: ignore[union-attr]
        if task is not None:
            return id(task)
    return threading.get_ident()


def inside_backward() -> bool:
    """Whether this thread is executing a backward: then what calls backward again is checkpointing, not a loss."""
    current = private(torch._C, "_current_graph_task_id")
    return current is not None and bool(current() != -1)


def leaves(roots: Any) -> set[int]:
    """The identities of the tensors that a backward from `roots` gives gradients to."""
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
    return found


class PerThread(Generic[T]):
    """One state for each thread, made when the thread first asks for it. Used under the recording's lock."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._states: dict[int, T] = {}

    def mine(self) -> T:
        """The state of this thread."""
        key = here()
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= _MOST:
                # Dictionaries keep their order: the first ones are the oldest.
                running = sys._current_frames()
                del self._states[next((key for key in self._states if key not in running), next(iter(self._states)))]
            state = self._states[key] = self._make()
        return state

    def others(self) -> list[T]:
        """The states of all other threads, the oldest first."""
        mine = self.mine()
        return [state for state in self._states.values() if state is not mine]

    def ended(self) -> list[T]:
        """The states of the threads that run no longer, and of asyncio tasks."""
        running = sys._current_frames()
        return [state for key, state in self._states.items() if key not in running]

    def all(self) -> list[T]:
        """The states of all threads."""
        return list(self._states.values())
