"""What the pages of a Parquet file unpack to, by the header of each page: the sizes in the footer may be anything."""

import io
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from gradaudit.guard import Refused
from gradaudit.reading.thrift import BINARY, I32, I64, LIST, STRUCT, Reader

MOST_PAGE = 64_000_000  # bytes of one page; the recorder's have a million
MOST_FOOTER = 1_000_000  # bytes; the recorder's have some thousand
_DICTIONARY = 2  # kind of page
_TEXT = 6  # BYTE_ARRAY, a physical type
# Texts in other encodings (DELTA_BYTE_ARRAY) unpack to more than their page says.
_OF_TEXTS = {0, 2, 3, 8}  # PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY
_OF_NUMBERS = {*_OF_TEXTS, 5, 9}  # DELTA_BINARY_PACKED, BYTE_STREAM_SPLIT
# The lists of a footer, by the numbers of the fields that lead to each, with the type of their entries: parquet.thrift
# of apache/parquet-format 2.12.
_LISTS = {
    (2,): STRUCT, (4,): STRUCT, (5,): STRUCT, (7,): STRUCT, (4, 1): STRUCT, (4, 4): STRUCT, (4, 1, 3, 2): I32,
    (4, 1, 3, 3): BINARY, (4, 1, 3, 8): STRUCT, (4, 1, 3, 13): STRUCT, (4, 1, 3, 16, 2): I64, (4, 1, 3, 16, 3): I64,
    (4, 1, 3, 17, 2): I32,
}  # fmt: skip
_LONGEST = (1 << 10, 1 << 20)  # bytes looked at for a header, at first and at last


class Chunk(NamedTuple):
    """A column of a row group, as the footer has it."""

    name: str  # of the column, or of the list that it belongs to
    rows: int  # of the row group
    text: bool
    values: int
    start: int


def chunks(file: io.FileIO) -> list[list[Chunk]]:
    """The columns of each row group by the footer of a Parquet file. Raises Refused, and ValueError for garbage.

    pyarrow ends the process for some damaged footers when it is asked for the same.
    """
    end = os.fstat(file.fileno()).st_size
    length = int.from_bytes(os.pread(file.fileno(), 4, end - 8), "little") if end > 12 else 0
    if os.pread(file.fileno(), 4, max(0, end - 4)) != b"PAR1":
        raise ValueError("it is no Parquet file, or its end is missing")
    if not 0 < length <= min(MOST_FOOTER, end - 12):
        raise ValueError("its footer is longer than any recorder's")
    try:
        footer = dict(Reader(os.pread(file.fileno(), length, end - 8 - length), _LISTS).struct())
        groups = footer.get((4, LIST), [])
        return [[_chunk(column, group[3, I64]) for column in group[1, LIST]] for group in groups]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError("its footer is damaged") from error


def _chunk(column: dict[tuple[int, int], Any], rows: int) -> Chunk:
    if any(number in (1, 8) for number, _ in column):
        raise Refused("was left out: it is encrypted, or its pages lie in another file")
    facts = column[3, STRUCT]
    dictionary, data = facts.get((11, I64), 0), facts[9, I64]
    start = dictionary if 0 < dictionary < data else data
    name = facts[3, LIST][0].decode(errors="replace")
    return Chunk(name, rows, facts[1, I32] == _TEXT, facts[5, I64], start)


def unpacked(file: io.FileIO, chunk: Chunk, turn: Callable[[], None]) -> int:
    """Bytes of the pages of a column; `turn` is called for each. Raises Refused, and ValueError for garbage."""
    start, end = chunk.start, os.fstat(file.fileno()).st_size
    size = values = 0
    allowed = _OF_TEXTS if chunk.text else _OF_NUMBERS
    while values < chunk.values:
        turn()
        if not 0 <= start < end:
            raise ValueError("a page lies outside of the file")
        kind, plain, packed, count, encoding, length = _header(file, start)
        if max(plain, packed, count) > MOST_PAGE:
            raise Refused(f"was left out: a page of it takes {max(plain, packed, count) / 1e6:,.0f} MB in memory")
        if encoding not in allowed:
            raise Refused("was left out: its pages have an encoding that no recorder writes")
        size += plain
        values += 0 if kind == _DICTIONARY else count
        start += length + packed
    if values != chunk.values:
        raise ValueError("its pages hold more values than it says")
    return size


def _header(file: io.FileIO, start: int) -> tuple[int, int, int, int, int, int]:
    """Type, unpacked and packed size, values, encoding and own length of the header at `start`."""
    for longest in _LONGEST:
        data = os.pread(file.fileno(), longest, start)
        try:
            reader = Reader(data)
            fields = dict(reader.struct())
        except IndexError:
            continue
        kind, plain, packed = (fields.get((number, I32), -1) for number in (1, 2, 3))
        # Where each kind of page keeps its facts, and among them its encoding; an index page has no values.
        inner, where = {0: (5, 2), _DICTIONARY: (7, 2), 3: (8, 4)}.get(kind, (0, 0))
        facts = fields.get((inner, STRUCT), {})
        count, encoding = (facts.get((1, I32), -1), facts.get((where, I32), -1)) if inner else (0, 0)
        if min(kind, plain, packed, count) < 0:
            break
        return kind, plain, packed, count, encoding, reader.at
    raise ValueError("the header of a page is damaged")
