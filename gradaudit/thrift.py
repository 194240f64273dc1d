"""Thrift's compact protocol, in which Parquet writes its footer and the headers of its pages, read without a schema."""

from collections.abc import Iterator
from typing import Any


class Reader:
    """Reads Thrift's compact protocol; raises IndexError at the end of the data, ValueError for garbage."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int = 0) -> Iterator[tuple[int, Any]]:
        """(number, value) of each field."""
        if depth > 16:
            raise ValueError("its footer, or the header of a page, is damaged")
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.whole()
            yield number, self.value(head & 15, depth)

    def value(self, kind: int, depth: int) -> Any:
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
        if kind in (9, 10):
            head = self.byte()
            count = head >> 4 if head >> 4 < 15 else self.varint()
            return [self.value(self._of_entries(head & 15), depth + 1) for _ in range(count)]
        if kind == 12:
            return dict(self.struct(depth + 1))
        raise ValueError("its footer, or the header of a page, is damaged")

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
        result = shift = 0
        while True:
            byte = self.byte()
            result |= (byte & 127) << shift
            if byte < 128:
                return result
            shift += 7
            if shift > 63:
                raise ValueError("its footer, or the header of a page, is damaged")

    def whole(self) -> int:
        """A whole number of either sign."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)
