"""Rows to files: a daemon thread that keeps a killed run readable.

Every hand-over is appended to an Arrow stream at once; a segment that is long or old enough is
rewritten as Parquet under a temporary name and renamed. Nothing here knows torch.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from gradaudit.schema import EVALUATIONS, EVENTS, HISTOGRAMS, MODULES, ROWS, STEPS, TENSORS, Table, arrow_schema

WRITTEN = (STEPS, EVALUATIONS, TENSORS, HISTOGRAMS, ROWS, MODULES, EVENTS)
QUEUE = 4  # hand-overs waiting; then statistics are dropped and counted, and the training never waits
SEGMENT_ROWS = 500_000
SEGMENT_SECONDS = 600.0
SEGMENT_SHARE = 0.25  # of the time since the first row: a week is some thirty files a table, not a thousand
FACTS_SECONDS = 5.0
FACTS_SHARE = 100  # facts of many thousand tensors are written so rarely that it costs at most 1 % of the time
CLOSE_SECONDS = 30.0  # waited for a slow disk at the end, in all

_DTYPES = {"float": "float32", "double": "float64"}  # numpy's names for Arrow's

Columns = dict[str, Any]  # column name -> a sequence of values, all of one length


class Writer:
    """Writes the tables of one rank into `folder`. `put` never blocks; `close` waits for the thread."""

    def __init__(self, folder: Path, facts: Callable[[], bytes], facts_file: Path) -> None:
        self.folder = folder
        self.facts, self.facts_file = facts, facts_file
        self.error: Exception | None = None
        self.spent = 0.0  # CPU seconds of the thread
        self._deadline: float | None = None
        self.busy = threading.Lock()  # held while files or pyarrow's own locks are in use
        self._queue: queue.Queue[Callable[[], dict[str, Columns]] | None] = queue.Queue(QUEUE)
        self._segments = {table.name: _Segment(folder, table) for table in WRITTEN}
        self._thread = threading.Thread(target=self._work, name="gradaudit-writer", daemon=True)
        self._thread.start()

    def put(self, batch: Callable[[], dict[str, Columns]], wait: bool = False) -> bool:
        """Hand over a function that gives rows by table; False when the queue is full or the thread has died."""
        if self.error is not None or not self._thread.is_alive():
            return False
        try:
            self._queue.put(batch, block=wait, timeout=self._left() if wait else None)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Write what is left and close the segments; a slow disk is waited for until `CLOSE_SECONDS` are over."""
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=self._left())
            self._thread.join(self._left())
        if self._thread.is_alive() and self.error is None:
            self.error = TimeoutError("the disk did not keep up")

    def _left(self) -> float:
        """Seconds left to wait for the disk, counted from the first time that somebody waits."""
        if self._deadline is None:
            self._deadline = time.monotonic() + CLOSE_SECONDS
        return max(0.0, self._deadline - time.monotonic())

    def _work(self) -> None:
        due = 0.0
        try:
            with self.busy:
                import pyarrow.parquet  # noqa: F401

            while (batch := self._queue.get()) is not None:
                with self.busy:
                    for name, columns in batch().items():
                        self._segments[name].append(columns)
                    self.spent = time.thread_time()
                    if time.monotonic() >= due:
                        started = time.monotonic()
                        self._write_facts()
                        ended = time.monotonic()
                        due = ended + max(FACTS_SECONDS, FACTS_SHARE * (ended - started))
            with self.busy:
                for segment in self._segments.values():
                    segment.close()
                self._write_facts()
        except BaseException as error:  # whatever it is, the training must not see it
            # Raised in the training's thread, a SystemExit would end the script.
            fault = RuntimeError(f"the writer's thread was ended by {type(error).__name__}")
            self.error = error if isinstance(error, Exception) else fault
            for segment in self._segments.values():
                segment.abandon()

    def _write_facts(self) -> None:
        replace(self.facts_file, self.facts())


class _Segment:
    """The open segment of one table: an Arrow stream that becomes a Parquet file."""

    def __init__(self, folder: Path, table: Table) -> None:
        self.folder, self.table = folder, table
        self.number, self.rows = 0, 0
        self.first = self.opened = 0.0  # when the table got its first row, and this segment
        self.live = folder / f"{table.name}.live.arrows"
        self.stream: Any = None

    def append(self, columns: Columns) -> None:
        """Append rows and flush them to the operating system."""
        import pyarrow

        count = len(columns[self.table.columns[0].name])
        if not count:
            return
        if self.stream is None:
            self.schema = arrow_schema(self.table).with_metadata({"segment": f"{self.number:06d}"})
            self.file = self.live.open("wb")
            self.stream = pyarrow.ipc.new_stream(self.file, self.schema)
            self.rows, self.opened = 0, time.monotonic()
            self.first = self.first or self.opened
        arrays = [arrow_array(field.type, columns[field.name]) for field in self.schema]
        self.stream.write_batch(pyarrow.RecordBatch.from_arrays(arrays, schema=self.schema))
        self.file.flush()
        self.rows += count
        if self.rows >= SEGMENT_ROWS or time.monotonic() - self.opened > self._longest():
            self.close()

    def _longest(self) -> float:
        """Seconds that a segment may stay open: longer and longer, so that their number grows with the logarithm."""
        return max(SEGMENT_SECONDS, SEGMENT_SHARE * (self.opened - self.first))

    def abandon(self) -> None:
        """Let go of the open stream after a fault; what it holds stays readable."""
        if self.stream is not None:
            with contextlib.suppress(Exception):
                self.file.close()
            self.stream = None

    def close(self) -> None:
        """Turn the stream into a Parquet file, then remove it: a reader that sees both knows they are one."""
        import pyarrow
        import pyarrow.parquet

        if self.stream is None:
            return
        self.stream.close()
        self.file.close()
        self.stream = None
        with pyarrow.memory_map(str(self.live)) as source, pyarrow.ipc.open_stream(source) as stream:
            data = stream.read_all().replace_schema_metadata()
        target = self.folder / f"{self.table.name}-{self.number:06d}.parquet"
        temporary = target.with_suffix(".parquet.tmp")
        keys = [name for name in self.table.key if name not in ("split", "time")]
        floats = [field.name for field in data.schema if field.type in (pyarrow.float32(), pyarrow.float64())]
        pyarrow.parquet.write_table(
            data,
            temporary,
            compression="zstd",
            use_dictionary=keys,
            # Floats of one column share their exponents: byte planes compress to half of plain ones.
            use_byte_stream_split=floats,
            write_statistics=keys,
        )
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
        self.live.unlink(missing_ok=True)
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


def replace(file: Path, content: bytes) -> None:
    """Write `file` so that a reader sees the old content or the new, never a part."""
    temporary = file.with_name(f"{file.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(file)
