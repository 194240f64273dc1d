"""What every part of the format rests on."""

from typing import NamedTuple

import msgspec


class UserError(Exception):
    """A mistake that the user can fix; every command shows it as one line and exits with 2."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the immutable values stored in ``run.json``."""


class Column(NamedTuple):
    """One column of a table; `dtype` is an Arrow type name, or ``list<T>`` of one."""

    name: str
    dtype: str
    unit: str
    doc: str


class Table(NamedTuple):
    """One table of a run; a row is identified by the columns named in `key`."""

    name: str
    key: tuple[str, ...]
    doc: str
    columns: tuple[Column, ...]
    enable: str  # how a user gets this table recorded when it is empty

    def column(self, name: str) -> Column:
        """The column called `name`; raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name}.{name}")
