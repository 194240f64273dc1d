"""Thrift's compact protocol, in which Parquet writes its footer and the headers of its pages, read without a schema.

A reader that knows the schema skips a field of another type. So a field goes by its number and its type here: what
pyarrow would not take for a size is none.
"""

from collections.abc import Iterator, Mapping
from typing import Any

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12  # types of fields
_DAMAGED = "its footer, or the header of a page, is damaged"
_DEEPEST = 16  # structs and lists within each other; Parquet's have at most seven


class Reader:
    """Reads Thrift's compact protocol; raises IndexError at the end of the data, ValueError for garbage.

    `lists` holds the type of the entries of each list that a schema knows, by the numbers of the fields that lead to
    it: a reader that knows the schema never looks at the type that the data names.
    """

    def __init__(self, data: bytes, lists: Mapping[tuple[int, ...], int] | None = None) -> None:
        self.data, self.lists, self.at = data, lists or {}, 0

    def struct(self, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, int], Any]]:
        """((number, type), value) of each field."""
        last = 0
        while head := self.byte():
            number = last + (head >> 4) if head >> 4 else self.whole()
            # Every writer goes up; a field that stands twice means one thing to one reader and another to the next.
            if not last < number < 1 << 15:
                raise ValueError(_DAMAGED)
            last = number
            yield (number, head & 15), self.value(head & 15, (*path, number))

    def value(self, kind: int, path: tuple[int, ...]) -> Any:
        """A value of this type; of a number with a fraction, and of a map, nothing is kept."""
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            return self.whole()
        if kind == 7:
            return self.take(8)
        if kind == 8:
            return self.take(self.varint())
        if len(path) > _DEEPEST:
            raise ValueError(_DAMAGED)
        if kind in (9, 10):
            head = self.byte()
            count, entries = head >> 4 if head >> 4 < 15 else self.varint(), head & 15
            if entries != self.lists.get(path, entries):
                raise ValueError(_DAMAGED)
            inner = path if entries == STRUCT else (*path, 0)
            return [self.value(self._of_entries(entries), inner) for _ in range(count)]
        if kind == STRUCT:
            return dict(self.struct(path))
        raise ValueError(_DAMAGED)

    def _of_entries(self, kind: int) -> int:
        return 3 if kind in (1, 2) else kind  # in a list a truth value takes a byte

    def byte(self) -> int:
        """The next byte."""
        self.at += 1
        return self.data[self.at - 1]

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self.at += count
        if self.at > len(self.data):
            raise IndexError
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        """A whole number, seven bits a byte."""
        data, at, result = self.data, self.at, 0
        for shift in range(0, 70, 7):
            byte = data[at]
            at += 1
            result |= (byte & 127) << shift
            if byte < 128:
                self.at = at
                return result
        raise ValueError(_DAMAGED)

    def whole(self) -> int:
        """A whole number of either sign."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)
