"""The open segment of a table: an Arrow stream to which the recorder still appends, or did when it was killed.

Every message is looked at before it is decoded, and what it holds is validated before a value is read: Arrow itself
trusts the lengths and offsets in it.
"""

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradaudit import guard
from gradaudit.guard import Refused
from gradaudit.reading.columns import checked_columns, short_texts, weighed
from gradaudit.reading.limits import MOST_FILE, Budget, weight_of_rows
from gradaudit.schema import Table

if TYPE_CHECKING:
    import pyarrow

_LENGTH, _NODES, _BUFFERS, _COMPRESSION = range(4)  # fields of a RecordBatch, in the order of Arrow's Message.fbs
_HEADER = 2  # field of a Message


def checked_stream(
    run: Path, place: tuple[str, ...], table: Table, budget: Budget
) -> "tuple[str, pyarrow.Table, str] | None":
    """The number of the open segment, its sound batches, and why the rest was left out, if so; None when it has none.

    Raises Refused, and OSError.
    """
    import pyarrow

    source = pyarrow.BufferReader(guard.content(run, *place, most=MOST_FILE))
    try:
        reader = pyarrow.ipc.MessageReader.open_stream(source)
        first = reader.read_next_message()
        if first.type != "schema":  # read_schema crashes on any other
            return None
        schema = pyarrow.ipc.read_schema(first)
        segment = (schema.metadata or {}).get(b"segment", b"").decode(errors="replace")
    except (pyarrow.ArrowException, StopIteration, OSError, ValueError):
        return None  # torn before its first batch
    checked_columns(schema, table)
    if any(pyarrow.types.is_dictionary(field.type) for field in schema):
        raise Refused("was left out: it holds a dictionary, and no recorder writes one")
    batches: list[pyarrow.RecordBatch] = []
    fault = ""
    try:
        for message in iter(reader.read_next_message, None):
            budget.turn()
            rows = _rows(message)
            if weight_of_rows(table, rows) > budget.weight:
                budget.refuse(weight_of_rows(table, rows))
            batch = pyarrow.ipc.read_record_batch(message, schema)
            batch.validate(full=True)
            weighed(pyarrow.Table.from_batches([batch]), table, budget)
            batches.append(batch)
    except Refused as refused:
        fault = str(refused)
    except (StopIteration, EOFError):
        pass
    except (pyarrow.ArrowException, OSError, ValueError, struct.error):
        # The last batch is torn when the process was killed while writing it; anything else is damage.
        fault = "" if source.tell() >= source.size() else "is damaged, and was left out from there on"
    if not batches:
        if fault:
            raise Refused(fault)
        return None
    return segment, short_texts(pyarrow.Table.from_batches(batches, schema)), fault


def _rows(message: Any) -> int:
    """Rows of a message that is a plain batch, whose parts lie inside of it. Raises Refused."""
    if message.type != "record batch":
        raise Refused("was left out: it holds more than rows")
    data = memoryview(message.metadata)
    batch = _Flat.root(data).table(_HEADER)
    if batch is None or batch.place(_COMPRESSION) is not None:
        raise Refused("was left out: its rows are compressed, and no recorder does that")
    rows, body = batch.number(_LENGTH), len(message.body or b"")
    sound = 0 <= rows <= 8 * body
    for length, nulls in batch.pairs(_NODES):
        sound = sound and 0 <= length <= 8 * body and 0 <= nulls <= length
    for offset, length in batch.pairs(_BUFFERS):
        sound = sound and 0 <= offset <= body and 0 <= length <= body - offset
    if not sound:
        raise Refused("was left out: its rows lie outside of it")
    return rows


class _Flat:
    """A table of a FlatBuffer; raises struct.error where it reaches outside of the buffer."""

    def __init__(self, data: memoryview, at: int) -> None:
        self.data, self.at = data, at
        self.fields = at - self._read("<i", at)

    @classmethod
    def root(cls, data: memoryview) -> "_Flat":
        """The table that the buffer holds."""
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def _read(self, kind: str, at: int) -> int:
        if at < 0:
            raise struct.error("before the buffer")
        return int(struct.unpack_from(kind, self.data, at)[0])

    def place(self, field: int) -> int | None:
        """Where a field lies, or None when it is not there."""
        if 4 + 2 * field >= self._read("<H", self.fields):
            return None
        offset = self._read("<H", self.fields + 4 + 2 * field)
        return self.at + offset if offset else None

    def number(self, field: int) -> int:
        """A field of 64 bits; 0 when it is not there."""
        place = self.place(field)
        return 0 if place is None else self._read("<q", place)

    def table(self, field: int) -> "_Flat | None":
        """A field that is a table."""
        place = self.place(field)
        return None if place is None else _Flat(self.data, place + self._read("<I", place))

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """A field that is a vector of pairs of 64 bits."""
        place = self.place(field)
        if place is None:
            return []
        start = place + self._read("<I", place)
        count = self._read("<I", start)
        return list(struct.iter_unpack("<qq", self.data[start + 4 : start + 4 + 16 * count]))
