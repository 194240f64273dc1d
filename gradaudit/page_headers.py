"""What the pages of a Parquet file unpack to, by the header of each page: the file's own footer may say anything.

A header is a Thrift struct in the compact protocol; of it the sizes, the number of values and the encoding are read.
"""

import io
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from gradaudit.guard import Refused

MOST_PAGE = 64_000_000  # bytes of one page; the recorder's have a million
_DICTIONARY = 2
# Texts in other encodings (DELTA_BYTE_ARRAY) unpack to more than their page says.
_OF_TEXTS = {0, 2, 3, 8}  # PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY
_OF_NUMBERS = {*_OF_TEXTS, 5, 9}  # DELTA_BINARY_PACKED, BYTE_STREAM_SPLIT
_LONGEST = (1 << 10, 1 << 20)  # bytes looked at for a header, at first and at last


class Unpacked(NamedTuple):
    """What a column chunk unpacks to."""

    size: int  # bytes of all its pages
    values: int


def unpacked(file: io.FileIO, chunk: Any, turn: Callable[[], None]) -> Unpacked:
    """What the pages of a column chunk (pyarrow's metadata of it) hold; `turn` is called for each of them.

    Raises Refused, and ValueError for garbage.
    """
    start, end = chunk.data_page_offset, os.fstat(file.fileno()).st_size
    if chunk.dictionary_page_offset and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    size = values = 0
    allowed = _OF_TEXTS if chunk.physical_type == "BYTE_ARRAY" else _OF_NUMBERS
    while values < chunk.num_values:
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
    if values != chunk.num_values:
        raise ValueError("its pages hold more values than it says")
    return Unpacked(size, values)


def _header(file: io.FileIO, start: int) -> tuple[int, int, int, int, int, int]:
    """Type, unpacked and packed size, values, encoding and own length of the header at `start`."""
    for longest in _LONGEST:
        data = os.pread(file.fileno(), longest, start)
        try:
            reader = _Reader(data)
            fields = dict(reader.struct())
        except IndexError:
            continue
        kind, plain, packed = (fields.get(number, 0) for number in (1, 2, 3))
        # The three kinds of page that hold values, and where each keeps its encoding.
        inner, where = next(((fields[number], at) for number, at in ((5, 2), (7, 2), (8, 4)) if number in fields), ({}, 2))
        if not isinstance(inner, dict) or not all(isinstance(n, int) and n >= 0 for n in (kind, plain, packed)):
            break
        count, encoding = inner.get(1, 0), inner.get(where, -1)
        if not (isinstance(count, int) and count >= 0):
            break
        if kind not in (0, _DICTIONARY, 3):  # an index page: no values
            count, encoding = 0, 0
        return kind, plain, packed, count, encoding, reader.at
    raise ValueError("the header of a page is damaged")


class _Reader:
    """Reads Thrift's compact protocol; raises IndexError at the end of the data, ValueError for garbage."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int = 0) -> Iterator[tuple[int, Any]]:
        """(number, value) of each field."""
        if depth > 8:
            raise ValueError("the header of a page is damaged")
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.whole()
            yield number, self.value(head & 15, depth)

    def value(self, kind: int, depth: int) -> Any:
        """A value of this type; of lists and maps nothing is kept."""
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            return self.whole()
        if kind == 7:
            return self.skip(8)
        if kind == 8:
            return self.skip(self.varint())
        if kind in (9, 10):
            head = self.byte()
            for _ in range(head >> 4 if head >> 4 < 15 else self.varint()):
                self.value(self._of_entries(head & 15), depth + 1)
            return None
        if kind == 12:
            return dict(self.struct(depth + 1))
        raise ValueError("the header of a page is damaged")

    def _of_entries(self, kind: int) -> int:
        return 3 if kind in (1, 2) else kind  # in a list a truth value takes a byte

    def byte(self) -> int:
        """The next byte."""
        self.at += 1
        return self.data[self.at - 1]

    def skip(self, count: int) -> None:
        """Leave bytes out."""
        self.at += count
        if self.at > len(self.data):
            raise IndexError

    def varint(self) -> int:
        """A whole number, seven bits a byte."""
        result = shift = 0
        while True:
            byte = self.byte()
            result |= (byte & 127) << shift
            if byte < 128:
                return result
            shift += 7
            if shift > 63:
                raise ValueError("the header of a page is damaged")

    def whole(self) -> int:
        """A whole number of either sign."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)
