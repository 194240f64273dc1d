"""Rows to files: a daemon thread that keeps a killed run readable.

Every hand-over is appended to an Arrow stream at once; a segment that is long or old enough is
rewritten as Parquet under a temporary name and renamed. What the training does not hand over is
fetched, so that nothing older than two seconds is lost while the process lives: a process that is
stopped, or whose interpreter is held by another thread's C code for longer, cannot be served.
No descriptor is kept, and no signal is taken. Nothing here knows torch.
"""

import contextlib
import io
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from gradaudit.record import os_signals
from gradaudit.record.storage import disk
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
    arrow_schema,
)

WRITTEN = (STEPS, EVALUATIONS, TENSORS, HISTOGRAMS, ROWS, MODULES, OPERATIONS, EVENTS)
QUEUE = 4  # hand-overs waiting; then statistics are dropped and counted, and the training never waits
LOOK_SECONDS = 0.5  # between two looks at what the training has not handed over
SEGMENT_ROWS = 500_000
SEGMENT_SECONDS = 600.0
SEGMENT_SHARE = 0.25  # of the time since the first row: a week is some thirty files a table, not a thousand
FACTS_SECONDS = 5.0  # while the training goes on; when it rests, the facts follow the rows at once
FACTS_SHARE = 100  # facts of many thousand tensors are written so rarely that it costs at most 1 % of the time
CLOSE_SECONDS = 30.0  # waited for a slow disk at the end, in all

_DTYPES = {"float": "float32", "double": "float64"}  # numpy's names for Arrow's

Columns = dict[str, Any]  # column name -> a sequence of values, all of one length
Rows = Callable[[], dict[str, Columns]]  # gives rows by table


class Writer:
    """Writes the tables of one rank into `folder`. `put` never blocks; `close` waits for the thread.

    `overdue` gives what has waited too long for a hand-over; it is called by the thread while nothing
    else was handed over.
    """

    def __init__(
        self,
        folder: Path,
        facts: Callable[[], bytes],
        facts_file: Path,
        overdue: Callable[[], Rows | None] = lambda: None,
    ) -> None:
        self.folder = folder
        self.facts, self.facts_file = facts, facts_file
        self.error: Exception | None = None
        self.begun = False  # the run has its facts on disk, and with them what can be read
        self.spent = 0.0  # CPU seconds of the thread, for what was written
        self._overdue = overdue
        self._deadline: float | None = None
        self.busy = threading.Lock()  # held while files or pyarrow's own locks are in use
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
        """Write what is left and close the segments; a slow disk is waited for until `CLOSE_SECONDS` are over."""
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=self._left())
            self._thread.join(self._left())
        if self._thread.is_alive() and self.error is None:
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
                import pyarrow.parquet  # noqa: F401

            while (batch := self._next()) is not None:
                with self.busy:
                    self._write(batch)
            with self.busy:
                for segment in self._segments.values():
                    segment.close()
                self._write_facts()
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
    """The open segment of one table: an Arrow stream that becomes a Parquet file."""

    def __init__(self, folder: Path, table: Table) -> None:
        self.folder, self.table = folder, table
        self.number, self.rows = 0, 0
        self.first = self.opened = 0.0  # when the table got its first row, and this segment
        self.live = folder / f"{table.name}.live.arrows"
        self.left: Left | None = None  # the stream's file, as it was left

    def append(self, columns: Columns) -> None:
        """Append rows and give them to the operating system."""
        import pyarrow

        count = len(columns[self.table.columns[0].name])
        if not count:
            return
        if self.left is None:
            self.schema = arrow_schema(self.table).with_metadata({"segment": f"{self.number:06d}"})
        arrays = [arrow_array(field.type, columns[field.name]) for field in self.schema]
        batch = pyarrow.RecordBatch.from_arrays(arrays, schema=self.schema).serialize()
        if self.left is None:
            self.left = disk.create(self.live, b"".join((self.schema.serialize(), batch)))
            self.rows, self.opened = 0, time.monotonic()
            self.first = self.first or self.opened
        else:
            self.left = disk.append(self.live, self.left, batch)
        self.rows += count
        if self.rows >= SEGMENT_ROWS or time.monotonic() - self.opened > self._longest():
            self.close()

    def _longest(self) -> float:
        """Seconds that a segment may stay open: longer and longer, so that their number grows with the logarithm."""
        return max(SEGMENT_SECONDS, SEGMENT_SHARE * (self.opened - self.first))

    def close(self) -> None:
        """Turn the stream into a Parquet file, then remove it: a reader that sees both knows they are one."""
        import pyarrow
        import pyarrow.parquet

        if self.left is None:
            return
        with pyarrow.ipc.open_stream(pyarrow.py_buffer(disk.read(self.live, self.left))) as stream:
            data = stream.read_all().replace_schema_metadata()
        keys = [name for name in self.table.key if name not in ("split", "time")]
        floats = [field.name for field in data.schema if field.type in (pyarrow.float32(), pyarrow.float64())]
        content = io.BytesIO()
        pyarrow.parquet.write_table(
            data,
            content,
            compression="zstd",
            use_dictionary=keys,
            # Floats of one column share their exponents: byte planes compress to half of plain ones.
            use_byte_stream_split=floats,
            write_statistics=keys,
        )
        replace(self.folder / f"{self.table.name}-{self.number:06d}.parquet", content.getbuffer(), sync=True)
        self.live.unlink(missing_ok=True)
        self.left = None
        self.number += 1


def arrow_array(kind: Any, values: Any) -> Any:
    """A pyarrow array from buffers: pyarrow.array() would import pandas, 0.4 s under the interpreter's lock."""
    import pyarrow

    if pyarrow.types.is_list(kind):
        offsets = numpy.cumsum([0, *(len(value) for value in values)], dtype=numpy.int32)
        flat = [item for value in values for item in value]
        children = [arrow_array(kind.value_type, flat)]
        return pyarrow.Array.from_buffers(kind, len(values), [None, pyarrow.py_buffer(offsets)], children=children)
    if pyarrow.types.is_string(kind):
        encoded = [str(value).encode("utf-8", "replace") for value in values]
        offsets = numpy.concatenate(([0], numpy.cumsum([len(value) for value in encoded]))).astype(numpy.int32)
        buffers = [None, pyarrow.py_buffer(offsets.tobytes()), pyarrow.py_buffer(b"".join(encoded))]
        return pyarrow.Array.from_buffers(kind, len(encoded), buffers)
    if pyarrow.types.is_boolean(kind):
        bits = numpy.packbits(numpy.asarray(values, dtype=bool), bitorder="little")
        return pyarrow.Array.from_buffers(kind, len(values), [None, pyarrow.py_buffer(bits.tobytes())])
    name = _DTYPES.get(str(kind), str(kind))
    array = numpy.asarray(values, dtype=numpy.float64 if name == "float32" else name)
    if name == "float32":
        array = _narrow(array)
    return pyarrow.Array.from_buffers(kind, len(array), [None, pyarrow.py_buffer(numpy.ascontiguousarray(array))])


def _narrow(array: Any) -> Any:
    """float64 to float32; a finite norm must not become infinite by being stored."""
    with numpy.errstate(over="ignore"):
        narrow = array.astype(numpy.float32)
    if numpy.isinf(narrow).any():
        most = float(numpy.finfo(numpy.float32).max)
        narrow = numpy.where(numpy.isinf(array), array, numpy.clip(array, -most, most)).astype(numpy.float32)
    return narrow
