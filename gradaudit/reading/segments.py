"""The parts of a table: Parquet segments and plain ones, of which any may be torn or foreign."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from gradaudit import guard
from gradaudit.guard import Refused
from gradaudit.hidden_characters import escaped
from gradaudit.reading.closed_segment import checked_segment
from gradaudit.reading.columns import LONGEST_NAME, as_schema
from gradaudit.reading.limits import MOST_NAMES, MOST_SEGMENTS, Budget
from gradaudit.reading.open_segment import checked_rows
from gradaudit.schema import TABLES, Meta, Table, arrow_schema

if TYPE_CHECKING:
    import numpy
    import pyarrow

_CLOSED, _OPEN = ".parquet", ".rows"


class LazyPart(Protocol):
    """A part that is read, or made of others, when it is asked for."""

    def __len__(self) -> int:
        """Rows, at most."""

    def read(self, table: Table, names: list[str]) -> "pyarrow.Table":
        """The named columns, as the schema has them."""


Part: TypeAlias = "pyarrow.Table | LazyPart"


@dataclass(frozen=True)
class Problem:
    """Something of a run that was left out: what, in words, and the table of which rows are missing, if it is one."""

    message: str
    table: str = ""


def clean_text(text: str) -> str:
    """`text` on one line, with hidden characters shown as escapes, at most `LONGEST_NAME` long."""
    if len(text) > LONGEST_NAME:
        half = LONGEST_NAME // 2
        text = f"{text[:half]}…{text[-half:]}"
    return escaped(text)


def folder_of(meta: Meta) -> str:
    """The name of the folder in which a process keeps its tables."""
    return f"rank{meta.rank:05d}" + (f".{meta.attempt}" if meta.attempt else "")


def parts(path: Path, name: str, meta: Meta, problems: list[Problem], budget: Budget) -> Iterator[Part]:
    """The readable parts of one table of the process that `meta` describes, in the order of their segments.

    What they weigh is taken off `budget`; `problems` gains what was left out.
    """
    import pyarrow

    faults = (Refused, OSError, ValueError, OverflowError, RecursionError, pyarrow.ArrowException)
    folder, table = folder_of(meta), TABLES[name]
    try:
        entries = guard.names(path, folder, most=MOST_NAMES)
    except (Refused, OSError):
        return  # said where the ranks are put together
    found = [entry for entry in entries if entry.startswith(f"{name}-") and entry.endswith((_CLOSED, _OPEN))]
    if len(found) > MOST_SEGMENTS:
        most = f"all above {MOST_SEGMENTS:,} were left out"
        problems.append(Problem(f"{folder} has {len(found):,} segments of {name}; {most}", name))
    closed = set()
    for file in found[:MOST_SEGMENTS]:  # of one segment the Parquet file comes first
        stem = file.removesuffix(_CLOSED).removesuffix(_OPEN)
        if stem in closed:
            continue
        try:
            part, fault = _checked(path, folder, file, table, budget)
        except faults as error:
            problems.append(Problem(f"{folder}/{clean_text(file)} {_why(error)}", name))
            continue
        if file.endswith(_CLOSED):
            closed.add(stem)
        if fault:
            problems.append(Problem(f"{folder}/{clean_text(file)} {fault}", name))
        if part is not None:
            yield part


def _checked(path: Path, folder: str, file: str, table: Table, budget: Budget) -> "tuple[Part | None, str]":
    """One segment, or None where nothing is in it yet, and why the rest of it was left out."""
    if file.endswith(_CLOSED):
        return checked_segment(path, (folder, file), table, budget), ""
    try:
        return checked_rows(path, (folder, file), table, budget)
    except FileNotFoundError:  # it was made a Parquet file meanwhile
        return checked_segment(path, (folder, file.removesuffix(_OPEN) + _CLOSED), table, budget), ""


def _why(error: BaseException) -> str:
    """What is said of a part after its name."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, PermissionError):
        return "cannot be read (permission denied) and was left out"
    return f"is damaged and was left out ({clean_text(str(error)).split('. ')[0][:120]})"


def read(part: Part, table: Table, names: list[str]) -> "pyarrow.Table":
    """The named columns of one part, cast to the schema; a column that the part lacks is null."""
    import pyarrow

    return as_schema(part, table, names) if isinstance(part, pyarrow.Table) else part.read(table, names)


def column(part: Part, table: Table, name: str) -> "numpy.ndarray[Any, Any]":
    """[rows] of one column of a part; a column that the part lacks is NaN."""
    return columns(part, table, [name])[name]


def columns(part: Part, table: Table, names: list[str]) -> "dict[str, numpy.ndarray[Any, Any]]":
    """The same of several columns, for which the part is opened once."""
    data = read(part, table, names)
    return {name: data.column(name).to_numpy() for name in names}


def table_of(table: Table, columns: dict[str, Any]) -> "pyarrow.Table":
    """Arrays, of numpy or of pyarrow, as columns of `table`."""
    import pyarrow

    schema = arrow_schema(table)
    arrays = [
        values if isinstance(values, pyarrow.ChunkedArray) else pyarrow.array(values, schema.field(name).type)
        for name, values in columns.items()
    ]
    return pyarrow.table(arrays, names=list(columns))
