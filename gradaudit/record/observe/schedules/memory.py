"""Memory in use, now and then, and whether the graphs of earlier objectives still exist."""

import os
import time
import weakref
from collections.abc import Sequence
from typing import Any

import torch

from gradaudit.schema import GraphsKept, MemorySample

_APART = 4  # samples lie a quarter of the steps apart,
_SECONDS = 60.0  # or a minute
_MOST = 256
_MARK = "gradaudit"
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


class _Mark:
    """Lives as long as the node of a graph that holds it."""

    __slots__ = ("__weakref__",)


class Graphs:
    """Some graphs, and which of them still exist."""

    def __init__(self) -> None:
        self.kept = GraphsKept()
        self._marks: list[tuple[int, weakref.ref[_Mark]]] = []

    def mark(self, losses: Sequence[Any], step: int) -> None:
        """Mark the graph of the first of these that has one; one at each step."""
        if self._marks and self._marks[-1][0] == step:
            return
        node = next((one.grad_fn for one in losses if isinstance(one, torch.Tensor) and one.grad_fn is not None), None)
        metadata = getattr(node, "metadata", None)
        if isinstance(metadata, dict):
            mark = _Mark()
            metadata[_MARK] = mark
            if len(self._marks) >= _MOST:
                self._marks = self._marks[::2]
            self._marks.append((step, weakref.ref(mark)))

    def look(self, now: int) -> None:
        """Which of the marked graphs exist: all but the last one, which the script may still be at."""
        earlier = self._marks[:-1]
        alive = [step for step, mark in earlier if mark() is not None]
        self.kept = GraphsKept(
            marked=len(earlier),
            alive=len(alive),
            most=max(self.kept.most, len(alive)),
            steps=now - alive[0] if alive else 0,
        )


class Memory:
    """The series so far. Used under the recording's lock."""

    def __init__(self) -> None:
        self.samples: list[MemorySample] = []
        self.graphs, self.evaluations = Graphs(), Graphs()
        self.due = 1  # the step before which the next sample is taken
        self._began = self._last = 0.0
        self._apart = _SECONDS
        self._step = 0

    @property
    def wants(self) -> bool:
        """Whether the graph of a backward that begins now is marked."""
        return self._step + 1 >= self.due

    def due_at(self, step: int) -> bool:
        """Whether a sample may be taken before this step, or the graph before it is marked."""
        return step + 1 >= self.due or not step & 63

    def passed(self, step: int) -> None:
        """Steps up to this one were made."""
        self._step = step

    def before_step(self, step: int) -> None:
        """The step `step`, counted from 1, begins."""
        self._step = step
        if step < self.due and (step & 63 or time.perf_counter() - self._last < self._apart):
            return
        now = time.perf_counter()
        self._began = self._began or now
        self._last = now
        if step >= self.due:
            self.due = step + max(1, step // _APART)
        if len(self.samples) >= _MOST:
            self.samples = self.samples[::2]
            self._apart *= 2
        self.samples.append(MemorySample(step=step, seconds=now - self._began, host=resident(), device=_allocated()))
        for marked in (self.graphs, self.evaluations):
            marked.look(step)

    def on_backward(self, roots: Sequence[Any]) -> None:
        """A backward begins; where the next step is sampled, its graph is marked."""
        if self.wants:
            self.graphs.mark(roots, self._step)

    def on_evaluation(self, loss: Any) -> None:
        """A loss of an evaluation has a graph: that of the first one since the last step is marked."""
        self.evaluations.mark([loss], self._step)


def resident() -> int:
    """The resident memory of this process in bytes; -1 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return -1


def _allocated() -> int:
    """What torch has allocated on the current CUDA device, by its own count: the device is not asked."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return -1
    return int(torch.cuda.memory_allocated())
