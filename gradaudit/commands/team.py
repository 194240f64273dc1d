"""Processes that do one task for many paths: replaced when they die, ended with the process that needs them."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from gradaudit.commands.ends import TERMINATED
from gradaudit.commands.errors import COULD_NOT, Done, attempt

T = TypeVar("T")
GRACE = 1.0  # s for a worker in the middle of a task to remove what it has half written

# A fork would copy the locks of the threads that the readers of Parquet have started.
_SPAWN = multiprocessing.get_context("spawn")


class Worker:
    """One process; `number` is that of the path it works on, None between two."""

    def __init__(self, task: Callable[[Path], Any]) -> None:
        self.number: int | None = None
        self.connection, self._theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_serve, args=(self._theirs, os.getpid()), daemon=True)
        self._task = task

    def start(self) -> None:
        """Start the process."""
        with _interrupts_blocked():
            self.process.start()
        self._theirs.close()
        # Not with the arguments: for a process that dies before it has read them, their writer waits for ever.
        with contextlib.suppress(OSError):
            self.connection.send(self._task)

    def give(self, number: int, path: Path) -> None:
        """Hand over a path; a process that has died is noticed when its answer is read."""
        self.number = number
        with contextlib.suppress(OSError):
            self.connection.send(path)


class Team(Generic[T]):
    """`task(path)` for every path, in at most `size` processes at a time; `done` holds what has become of each.

    Where a process dies, its path is tried once more, alone: it may have died of another one, or of all together.
    A task may give its value in parts, as an iterator: the last one counts, or the last before its process died.
    """

    def __init__(self, task: Callable[[Path], Any], paths: Sequence[Path], size: int, *, again: bool = True) -> None:
        self.task, self.paths, self.size, self.again = task, paths, size, again
        self.workers: list[Worker] = []
        self.done: dict[int, Done[T]] = {}
        self.finished = 0
        self._early: dict[int, Done[T]] = {}
        self._waiting, self._suspects = deque(range(len(paths))), deque[int]()
        self._tried: set[int] = set()

    def fill(self) -> None:
        """Give every process something to do; nothing while one is tried alone, or is about to be."""
        busy = [worker.number for worker in self.workers if worker.number is not None]
        if self._suspects and not busy:
            self._free().give(suspect := self._suspects.popleft(), self.paths[suspect])
            return
        while self._waiting and not self._suspects and not self._tried.intersection(busy) and len(busy) < self.size:
            self._free().give(number := self._waiting.popleft(), self.paths[number])
            busy.append(number)

    def collect(self, timeout: float) -> None:
        """Wait until a process says something, and take it."""
        busy = {worker.connection: worker for worker in self.workers if worker.number is not None}
        for connection in wait(list(busy), timeout):
            worker = busy[connection]  # type: ignore[index]
            assert worker.number is not None
            try:
                final, done = worker.connection.recv()
            except (EOFError, OSError):
                self._lose(worker, worker.number)
                continue
            if final:
                self._settle(worker.number, done)
                worker.number = None
            else:
                self._early[worker.number] = done

    def end(self) -> None:
        """Leave no process: one in the middle of a task has `GRACE`, one that waits has nothing to lose."""
        started = [worker.process for worker in self.workers if worker.process.pid is not None]
        for worker in self.workers:
            if worker.process in started:
                worker.process.kill() if worker.number is None else worker.process.terminate()
        deadline = time.monotonic() + GRACE
        for process in started:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()
        for worker in self.workers:
            worker.connection.close()
        self.workers.clear()

    def _free(self) -> Worker:
        for worker in list(self.workers):
            if worker.number is None and worker.process.is_alive():
                return worker
            if worker.number is None:
                self._dismiss(worker)
        worker = Worker(self.task)
        self.workers.append(worker)  # before it starts: whatever happens now, `end` knows of it
        worker.start()
        return worker

    def _lose(self, worker: Worker, number: int) -> None:
        self._dismiss(worker)
        if self.again and number not in self._tried:
            self._tried.add(number)
            self._suspects.append(number)
        else:
            reason = "the process that worked on it was killed or crashed (out of memory?)"
            complaint = f"gradaudit: {self.paths[number]}: {reason}\n"
            self._settle(number, self._early.get(number, Done(None, complaint, COULD_NOT)))

    def _settle(self, number: int, done: Done[T]) -> None:
        self._early.pop(number, None)
        self.done[number] = done
        self.finished += 1

    def _dismiss(self, worker: Worker) -> None:
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)


def last(value: Any, early: Callable[[Any], None]) -> Any:
    """The value of a task, or the last one of a task that gives several; `early` is told each."""
    if isinstance(value, Iterator):
        for part in value:
            early(part)
            value = part
    return value


def _serve(connection: Connection, parent: int) -> None:
    """The life of a worker. Its Ctrl-C is its parent's."""
    _end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(TERMINATED))
    # What the chart engine says of its own death would stand between our lines.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        task = connection.recv()
    except EOFError:
        return
    while True:
        try:
            path = connection.recv()
        except EOFError:
            return
        done = attempt(lambda path=path: last(task(path), lambda part: connection.send((False, Done(part)))))  # type: ignore[misc]
        connection.send((True, done))


def _end_with(parent: int) -> None:
    """Die with the parent, even if that is killed."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died before that
            os._exit(TERMINATED)
    above = multiprocessing.parent_process()
    if above is not None:
        threading.Thread(target=_outlive, args=(above,), daemon=True).start()


def _outlive(parent: Any) -> None:
    parent.join()
    os._exit(TERMINATED)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process that is started in the block gets no Ctrl-C of the terminal, not even before its first line."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # to start it later would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
