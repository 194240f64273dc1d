"""Rows to files: a daemon thread that keeps a killed run readable.

Every hand-over is appended at once, as a frame that numpy and zlib make; after a segment that is long
or old enough comes another one. Parquet files are made of them when all is written: by the command
that waits for the training, else by this thread. What the training does not hand over is
fetched, so that nothing older than two seconds is lost while the process lives: a process that is
stopped, or whose interpreter is held by another thread's C code for longer, cannot be served.
No descriptor is kept, and no signal is taken. Nothing here knows torch.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradaudit.record import os_signals
from gradaudit.record.storage import closing, disk
from gradaudit.record.storage.disk import Left, replace
from gradaudit.schema import (
    EVALUATIONS,
    EVENTS,
    HISTOGRAMS,
    MODULES,
    OPERATIONS,
    ROWS,
    STEPS,
    TENSORS,
    Table,
    plain_rows,
)

WRITTEN = (STEPS, EVALUATIONS, TENSORS, HISTOGRAMS, ROWS, MODULES, OPERATIONS, EVENTS)
QUEUE = 4  # hand-overs waiting; then statistics are dropped and counted, and the training never waits
LOOK_SECONDS = 0.5  # between two looks at what the training has not handed over
SEGMENT_ROWS = 500_000
SEGMENT_SECONDS = 600.0
SEGMENT_SHARE = 0.25  # of the time since the first row: a week is some thirty files a table, not a thousand
FACTS_SECONDS = 5.0  # while the training goes on; when it rests, the facts follow the rows at once
FACTS_SHARE = 100  # facts of many thousand tensors are written so rarely that it costs at most 1 % of the time
SMALL_ROWS = 256  # a frame with fewer is put together with others
SMALL_FRAMES = 1024  # when there are so many
CLOSE_SECONDS = 30.0  # waited for a slow disk at the end, in all

Columns = dict[str, Any]  # column name -> a sequence of values, all of one length
Rows = Callable[[], dict[str, Columns]]  # gives rows by table


class Writer:
    """Writes the tables of one rank into `folder`. `put` never blocks; `close` waits for the thread.

    `overdue` gives what has waited too long for a hand-over; it is called by the thread while nothing
    else was handed over. `parquet`: nobody else makes Parquet files at the end.
    """

    def __init__(
        self,
        folder: Path,
        facts: Callable[[], bytes],
        facts_file: Path,
        overdue: Callable[[], Rows | None] = lambda: None,
        parquet: bool = True,
    ) -> None:
        self.folder = folder
        self.facts, self.facts_file = facts, facts_file
        self.error: Exception | None = None
        self.begun = False  # the run has its facts on disk, and with them what can be read
        self.spent = 0.0  # CPU seconds of the thread, for what was written
        self._overdue = overdue
        self._parquet = parquet
        self._written = False  # everything; what is left is to make Parquet files of it
        self._deadline: float | None = None
        self.busy = threading.Lock()  # held while files are in use
        self._queue: queue.Queue[Rows | None] = queue.Queue(QUEUE)
        self._segments = {table.name: _Segment(folder, table) for table in WRITTEN}
        self._stale = True  # run.json is behind the rows
        self._due = self._allowed = 0.0  # when it is written next, while the training goes on and at the earliest
        self._thread = threading.Thread(target=self._work, name="gradaudit-writer", daemon=True)
        with os_signals.inherited_blocked():
            self._thread.start()

    def put(self, batch: Rows, wait: bool = False) -> bool:
        """Hand over a function that gives rows by table; False when the queue is full or the thread has died."""
        if self.error is not None or not self._thread.is_alive():
            return False
        try:
            self._queue.put(batch, block=wait, timeout=self._left() if wait else None)
        except queue.Full:
            return False
        return True

    def idle(self) -> bool:
        """Whether nothing that was handed over waits to be written."""
        return self._queue.empty()

    def close(self) -> None:
        """Write what is left; a slow disk is waited for until `CLOSE_SECONDS` are over."""
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=self._left())
            self._thread.join(self._left())
        if self._thread.is_alive() and self.error is None and not self._written:
            self.error = TimeoutError("the disk did not keep up")

    def hurry(self, seconds: float) -> None:
        """Wait no longer than this, from now on, for what is left to be written."""
        self._deadline = time.monotonic() + seconds

    def _left(self) -> float:
        """Seconds left to wait for the disk, counted from the first time that somebody waits."""
        if self._deadline is None:
            self._deadline = time.monotonic() + CLOSE_SECONDS
        return max(0.0, self._deadline - time.monotonic())

    def _work(self) -> None:
        try:
            with self.busy:
                self._write_facts()
            while (batch := self._next()) is not None:
                with self.busy:
                    self._write(batch)
            with self.busy:
                self._write_facts()
                self._written = True
                if self._parquet:
                    closing.to_parquet(self.folder, lambda: self._left() > 0)
        except BaseException as error:  # whatever it is, the training must not see it
            # Raised in the training's thread, a SystemExit would end the script.
            fault = RuntimeError(f"the writer's thread was ended by {type(error).__name__}")
            self.error = error if isinstance(error, Exception) else fault

    def _next(self) -> Rows | None:
        """The next hand-over, or None at the end; what is overdue meanwhile is written."""
        while True:
            try:
                return self._queue.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                # Taken by the capture of a CUDA graph, during which nothing may be fetched, or by a fork.
                if self.busy.acquire(blocking=False):
                    try:
                        self._look()
                    finally:
                        self.busy.release()

    def _look(self) -> None:
        batch = self._overdue()
        if batch is not None:
            self._write(batch)
        elif self._stale and time.monotonic() >= self._allowed:
            self._write_facts()

    def _write(self, batch: Rows) -> None:
        started = time.thread_time()
        for name, columns in batch().items():
            self._segments[name].append(columns)
        self._stale = True
        if time.monotonic() >= self._due:
            self._write_facts()
        self.spent += time.thread_time() - started

    def _write_facts(self) -> None:
        started = time.monotonic()
        # Before they are gathered: what changes meanwhile is written next time.
        self._stale = False
        replace(self.facts_file, self.facts())
        self.begun = True
        ended = time.monotonic()
        self._allowed = ended + FACTS_SHARE * (ended - started)
        self._due = max(ended + FACTS_SECONDS, self._allowed)


class _Segment:
    """The open segment of one table: plain frames, which `closing` makes a Parquet file of."""

    def __init__(self, folder: Path, table: Table) -> None:
        self.folder, self.table = folder, table
        self.number, self.rows = 0, 0
        self.first = self.opened = 0.0  # when the table got its first row, and this segment
        self.left: Left | None = None  # the file, as it was left
        self.small = self.merged = 0  # frames of few rows since they were put together last, and the size then

    @property
    def file(self) -> Path:
        """The file of the segment."""
        return self.folder / f"{self.table.name}-{self.number:06d}{closing.PLAIN}"

    def append(self, columns: Columns) -> None:
        """Append rows and give them to the operating system."""
        count = len(columns[self.table.columns[0].name])
        if not count:
            return
        frames = plain_rows.framed(self.table, columns)
        if self.left is None:
            self.left = disk.create(self.file, b"".join((plain_rows.head(self.table), *frames)))
            self.rows, self.opened = 0, time.monotonic()
            self.first = self.first or self.opened
            self.small = self.merged = 0
        else:
            self.left = disk.append(self.file, self.left, b"".join(frames))
        self.rows += count
        self.small += count < SMALL_ROWS
        if self.rows >= SEGMENT_ROWS or time.monotonic() - self.opened > self._longest():
            self.close()
        elif self.small >= SMALL_FRAMES and 4 * (self.left.size - self.merged) > self.merged:
            self._merge(self.left)

    def _longest(self) -> float:
        """Seconds that a segment may stay open: longer and longer, so that their number grows with the logarithm."""
        return max(SEGMENT_SECONDS, SEGMENT_SHARE * (self.opened - self.first))

    def close(self) -> None:
        """End the segment; the next row begins another one."""
        if self.left is None:
            return
        if self.small >= SMALL_FRAMES // 16:
            self._merge(self.left)
        self.left = None
        self.number += 1

    def _merge(self, left: Left) -> None:
        """Put small frames together, so that a row of a slow training weighs no more than one of a fast one."""
        self.small = 0
        with contextlib.suppress(OSError):  # what is there stays readable, and the next row says what is wrong
            content = plain_rows.merged(disk.read(self.file, left))
            if content is not None:
                self.left = disk.replace(self.file, content)
                self.merged = self.left.size
