"""Rows as plain frames: the segment that a recorder appends to while it runs, with numpy and zlib alone.

A file is ``GRADROWS``, the length of its columns and their CRC-32, the columns as JSON ``[[name, type], ...]``, and
frames. A frame is ``ROWS``, the CRC-32 of all that follows in it, its rows and the length of the rest; then a word for
each stream, and the streams. A column of numbers is one stream of its values; one of lists or texts is two: the
lengths, and all items (of a text, its UTF-8). The two highest bits of a word tell how a stream is kept, the others its
length in bytes:

- 0: as it is, little-endian; a flag is a byte
- 1: one value, which is that of all
- 2: its bytes by their place in a value, first all lowest ones, deflated. Of whole numbers wider than a byte it is the
  differences, each from the one before

What a reader takes of a file that may be anything is bounded here: no stream unpacks to more than `MOST_STREAM`.
"""

import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy

from gradaudit.schema.base import Table

MAGIC, BEGIN = b"GRADROWS", b"ROWS"
FRAME_ROWS = 16_384  # of one frame, at most
MOST_HEAD = 65_536  # bytes of the columns; the recorder's have some thousand
MOST_COLUMNS = 200
MOST_ROWS = 4 * FRAME_ROWS  # of a frame that is read
MOST_STREAM = 16_000_000  # bytes, unpacked
_SPLIT = MOST_STREAM // 4  # bytes of items: above, the rows are halved
_SHORT = 64  # bytes that are not worth deflating
_PLAIN, _CONSTANT, _DEFLATED = range(3)
_LENGTH = (1 << 30) - 1  # of a stream, in its word

_HEAD = struct.Struct("<8sII")
_FRAME = struct.Struct("<4sIII")
_ITEMS = {
    "bool": "<u1", "int8": "<i1", "int16": "<i2", "int32": "<i4", "int64": "<i8", "float32": "<f4", "float64": "<f8",
    "string": "<u1",
}  # fmt: skip

Array = Any  # numpy.ndarray; its type parameters say nothing here


class DamagedError(ValueError):
    """A frame is not as it was written."""


class Ragged(NamedTuple):
    """A column of lists or texts."""

    lengths: Array  # [rows]
    items: Array  # [all items]


class Columns(NamedTuple):
    """The columns of a file, in its order, and where its frames begin."""

    types: dict[str, str]
    names: tuple[str, ...]  # one that is there twice, twice
    begin: int


class Frame(NamedTuple):
    """Where a frame lies in the content of a file."""

    rows: int
    begin: int  # of its words
    end: int


def item_type(dtype: str) -> str | None:
    """The numpy type of what a column holds; None for a type that no table has."""
    inner = dtype[5:-1] if dtype.startswith("list<") else dtype
    return _ITEMS.get(inner) if inner == dtype or inner != "string" else None


def is_ragged(dtype: str) -> bool:
    """Whether a column holds lists or texts."""
    return dtype == "string" or dtype.startswith("list<")


def head(table: Table) -> bytes:
    """The beginning of a file of `table`."""
    names = msgspec.json.encode([[column.name, column.dtype] for column in table.columns])
    return _HEAD.pack(MAGIC, len(names), zlib.crc32(names)) + names


def framed(table: Table, columns: dict[str, Any]) -> list[bytes]:
    """Rows, a sequence of values for each column, as frames."""
    return packed([as_array(column.dtype, columns[column.name]) for column in table.columns])


def packed(columns: Sequence[Any]) -> list[bytes]:
    """Arrays, one for each column in its order, as frames."""
    rows = _length(columns[0])
    if rows > FRAME_ROWS or (rows > 1 and max(map(_weight, columns)) > _SPLIT):
        half = rows // 2
        parts = (slice(0, half), slice(half, rows))
        return [frame for part in parts for frame in packed([_rows(column, part) for column in columns])]
    streams = [_kept(stream) for column in columns for stream in (column if isinstance(column, Ragged) else (column,))]
    words = [kind << 30 | len(content) for kind, content in streams]
    body = b"".join((struct.pack(f"<{len(words)}I", *words), *(content for _, content in streams)))
    counts = struct.pack("<II", rows, len(body))
    return [_FRAME.pack(BEGIN, zlib.crc32(body, zlib.crc32(counts)), rows, len(body)) + body]


def as_array(dtype: str, values: Any) -> Any:
    """The values of a column as they are kept."""
    kind = item_type(dtype)
    if dtype == "string":
        texts = [str(value).encode("utf-8", "replace") for value in values]
        return Ragged(_lengths(texts), numpy.frombuffer(b"".join(texts), numpy.uint8))
    if is_ragged(dtype):
        return Ragged(_lengths(values), as_array(dtype[5:-1], [item for value in values for item in value]))
    if dtype == "bool":
        return numpy.asarray(values, dtype=bool).astype(kind)
    array = numpy.asarray(values, dtype=numpy.float64 if dtype == "float32" else kind)
    return _narrow(array) if dtype == "float32" else array


def _lengths(values: Sequence[Any]) -> Array:
    return numpy.fromiter(map(len, values), "<u4", len(values))


def _narrow(array: Array) -> Array:
    """float64 to float32; a finite norm must not become infinite by being stored."""
    with numpy.errstate(over="ignore"):
        narrow = array.astype(numpy.float32)
    if numpy.isinf(narrow).any():
        most = float(numpy.finfo(numpy.float32).max)
        narrow = numpy.where(numpy.isinf(array), array, numpy.clip(array, -most, most)).astype(numpy.float32)
    return narrow


def _length(column: Any) -> int:
    return len(column.lengths if isinstance(column, Ragged) else column)


def _weight(column: Any) -> int:
    return column.items.nbytes if isinstance(column, Ragged) else 0


def _rows(column: Any, rows: slice) -> Any:
    if not isinstance(column, Ragged):
        return column[rows]
    first, last = (int(column.lengths[:end].sum()) for end in (rows.start, rows.stop))
    return Ragged(column.lengths[rows], column.items[first:last])


def _kept(values: Array) -> tuple[int, bytes]:
    """How a stream is kept, and its bytes."""
    plain, width = values.tobytes(), values.itemsize
    if len(values) > 1 and plain == plain[:width] * len(values):
        return _CONSTANT, plain[:width]
    if len(plain) >= _SHORT:
        if _by_differences(values.dtype):
            values = numpy.diff(values, prepend=values.dtype.type(0))
        planes = numpy.ascontiguousarray(values).view(numpy.uint8).reshape(-1, width).T.tobytes()
        deflated = zlib.compress(planes, 1, -15)
        if len(deflated) < len(plain):
            return _DEFLATED, deflated
    return _PLAIN, plain


def _by_differences(dtype: Any) -> bool:
    return dtype.kind in "iu" and dtype.itemsize > 1


def columns_of(content: bytes) -> Columns | None:
    """The columns of a file; None when it was torn before its first frame. Raises DamagedError."""
    if len(content) < _HEAD.size:
        if not MAGIC.startswith(content[: len(MAGIC)]):
            raise DamagedError("it holds no rows of a recorder")
        return None
    magic, length, crc = _HEAD.unpack_from(content)
    if magic != MAGIC or length > MOST_HEAD:
        raise DamagedError("it holds no rows of a recorder")
    text = content[_HEAD.size : _HEAD.size + length]
    if len(text) < length:
        return None
    if zlib.crc32(text) != crc:
        raise DamagedError("its columns are not as they were written")
    try:
        named = msgspec.json.decode(text, type=list[tuple[str, str]])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise DamagedError("its columns are none") from error
    if len(named) > MOST_COLUMNS or not all(item_type(dtype) for _, dtype in named):
        raise DamagedError("it has columns that no recorder writes")
    return Columns(dict(named), tuple(name for name, _ in named), _HEAD.size + length)


def frames_of(content: bytes, columns: Columns) -> Iterator[Frame]:
    """The frames of a file; one that was torn at the end is left out. Raises DamagedError where one is damaged."""
    at, end = columns.begin, len(content)
    if len(columns.types) < len(columns.names):
        raise DamagedError("two of its columns have one name")
    streams = _streams(columns)
    while end - at >= _FRAME.size:
        begin, crc, rows, length = _FRAME.unpack_from(content, at)
        if begin != BEGIN or not 0 < rows <= MOST_ROWS or length > _LENGTH:
            raise DamagedError("a frame does not begin where it should")
        at += _FRAME.size
        if length > end - at:
            return
        # The counts lie before the body: both are covered.
        if zlib.crc32(memoryview(content)[at - 8 : at + length]) != crc:
            raise DamagedError("a frame is not as it was written")
        if length < 4 * streams:
            raise DamagedError("a frame lacks columns")
        if sum(word & _LENGTH for word in struct.unpack_from(f"<{streams}I", content, at)) != length - 4 * streams:
            raise DamagedError("the columns of a frame lie outside of it")
        yield Frame(rows, at, at + length)
        at += length
    if not BEGIN.startswith(content[at : at + len(BEGIN)]):
        raise DamagedError("a frame does not begin where it should")


def _streams(columns: Columns) -> int:
    return sum(1 + is_ragged(columns.types[name]) for name in columns.names)


def unpacked(content: bytes, columns: Columns, frame: Frame, names: Sequence[str]) -> dict[str, Any]:
    """The named columns of a frame, each an array or Ragged. Raises DamagedError."""
    found: dict[str, Any] = {}
    streams = _streams(columns)
    words = iter(struct.unpack_from(f"<{streams}I", content, frame.begin))
    at, view = frame.begin + 4 * streams, memoryview(content)
    for name in columns.names:
        dtype = columns.types[name]
        kind = numpy.dtype(item_type(dtype))
        places = []
        for word in itertools.islice(words, 1 + is_ragged(dtype)):
            size = word & _LENGTH
            places.append((word >> 30, view[at : at + size]))
            at += size
        if name not in names:
            continue
        if is_ragged(dtype):
            lengths = _stream(*places[0], numpy.dtype("<u4"), frame.rows)
            found[name] = Ragged(lengths, _stream(*places[1], kind, int(lengths.sum(dtype=numpy.uint64))))
        else:
            found[name] = _stream(*places[0], kind, frame.rows)
    return found


def _stream(how: int, content: memoryview, dtype: Any, count: int) -> Array:
    """[count] values."""
    size = count * dtype.itemsize
    if size > MOST_STREAM:
        raise DamagedError("a frame unpacks to more than any recorder writes")
    if how == _CONSTANT and len(content) == dtype.itemsize:
        return numpy.full(count, numpy.frombuffer(content, dtype)[0], dtype)
    if how == _PLAIN and len(content) == size:
        return numpy.frombuffer(content, dtype)
    if how != _DEFLATED:
        raise DamagedError("a column of a frame has another length")
    inflater = zlib.decompressobj(-15)
    try:
        planes = inflater.decompress(content, size + 1)
    except zlib.error as error:
        raise DamagedError("a column of a frame cannot be inflated") from error
    if len(planes) != size or not inflater.eof or inflater.unused_data:
        raise DamagedError("a column of a frame has another length")
    flat = numpy.frombuffer(planes, numpy.uint8).reshape(dtype.itemsize, count)
    values = numpy.ascontiguousarray(flat.T).reshape(-1).view(dtype)
    return numpy.cumsum(values, dtype=dtype) if _by_differences(dtype) else values


def merged(content: bytes) -> bytes | None:
    """A whole file with its small frames put together into large ones; None when it is not as it was written."""
    try:
        columns = columns_of(content)
        if columns is None:
            return None
        pieces, rows = [content[: columns.begin]], 0
        waiting: list[dict[str, Any]] = []
        for frame in frames_of(content, columns):
            if frame.rows >= FRAME_ROWS // 8 and not waiting:
                pieces.append(content[frame.begin - _FRAME.size : frame.end])
                continue
            waiting.append(unpacked(content, columns, frame, columns.names))
            rows += frame.rows
            if rows >= FRAME_ROWS:
                pieces += packed([_joined([part[name] for part in waiting]) for name in columns.names])
                waiting, rows = [], 0
        if waiting:
            pieces += packed([_joined([part[name] for part in waiting]) for name in columns.names])
    except DamagedError:
        return None
    return b"".join(pieces)


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], Ragged):
        return Ragged(*map(numpy.concatenate, zip(*parts, strict=True)))
    return numpy.concatenate(parts)
