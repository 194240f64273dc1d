"""Does one task for many runs, on all cores; a run that fails, or takes its process down, stops no other."""

import contextlib
import io
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from gradaudit.commands.errors import COULD_NOT, one_line

T = TypeVar("T")
BAR = 20  # characters


@dataclass(frozen=True)
class Done(Generic[T]):
    """What became of one task: its value, or None with what went to stderr and the exit code."""

    value: T | None
    complaint: str = ""
    code: int = 0


def attempt(task: Callable[[], T]) -> Done[T]:
    """Do `task`; a failure becomes the line that a command would write, instead of ending the process."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), one_line():
            return Done(task())
    except SystemExit as stop:
        return Done(None, said.getvalue(), stop.code if isinstance(stop.code, int) else COULD_NOT)


def each(paths: Sequence[Path], task: Callable[[Path], T], show: Callable[[str], None]) -> Iterator[Done[T]]:
    """What became of `task(path)` for each path, in order, each as soon as those before it are there.

    `task` must be picklable. `show` is told how many are done while there is nothing else to show.
    """
    workers = min(len(paths), cores())
    if workers < 2:
        yield from (attempt(lambda path=path: task(path)) for path in paths)  # type: ignore[misc]
        return
    with _pool(workers) as pool:
        futures = [pool.submit(_one, task, path) for path in paths]
        try:
            for path, future in zip(paths, futures, strict=True):
                _await(future, futures, show)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    yield _alone(task, path)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bar(done: int, total: int) -> str:
    """ "[#####...............] 3 of 12 runs"."""
    filled = BAR * done // total
    return f"[{'#' * filled}{'.' * (BAR - filled)}] {done} of {total} runs"


def _await(future: "Future[Done[T]]", futures: "list[Future[Done[T]]]", show: Callable[[str], None]) -> None:
    while not future.done():
        show(bar(sum(one.done() for one in futures), len(futures)))
        wait([future], timeout=0.3)
    show("")


def _pool(workers: int) -> ProcessPoolExecutor:
    # A fork would copy the locks of the threads that the readers of Parquet have started.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _leave_interrupts_to_the_parent)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _one(task: Callable[[Path], T], path: Path) -> Done[T]:
    return attempt(lambda: task(path))


def _alone(task: Callable[[Path], T], path: Path) -> Done[T]:
    """Once more in a process of its own: the one that died may have died of another run."""
    with _pool(1) as pool:
        try:
            return pool.submit(_one, task, path).result()
        except BrokenProcessPool:
            reason = "the process that analyzed it was killed or crashed (out of memory?)"
            return Done(None, f"gradaudit: {path}: {reason}\n", COULD_NOT)
