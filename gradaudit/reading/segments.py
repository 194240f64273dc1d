"""The parts of a table: closed Parquet segments and the open Arrow stream, of which any may be torn or foreign."""

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
from gradaudit.reading.open_segment import checked_stream
from gradaudit.schema import TABLES, Meta, Table, arrow_schema

if TYPE_CHECKING:
    import numpy
    import pyarrow


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
    """The readable parts of one table of the process that `meta` describes: closed segments, then the open one.

    What they weigh is taken off `budget`; `problems` gains what was left out.
    """
    import pyarrow

    faults = (Refused, OSError, ValueError, OverflowError, RecursionError, pyarrow.ArrowException)
    folder, table = folder_of(meta), TABLES[name]
    try:
        entries = guard.names(path, folder, most=MOST_NAMES)
    except (Refused, OSError):
        return  # said where the ranks are put together
    live = f"{name}.live.arrows"
    # Read first: a segment that is closed meanwhile is then seen twice, and not at all in the other order.
    opened = None
    if live in entries:
        try:
            opened = checked_stream(path, (folder, live), table, budget)
        except FileNotFoundError:
            entries = guard.names(path, folder, most=MOST_NAMES)  # it was closed meanwhile
        except faults as error:
            problems.append(Problem(f"{folder}/{live} {_why(error)}", name))
    closed = set()
    found = [entry for entry in entries if entry.startswith(f"{name}-") and entry.endswith(".parquet")]
    if len(found) > MOST_SEGMENTS:
        most = f"all above {MOST_SEGMENTS:,} were left out"
        problems.append(Problem(f"{folder} has {len(found):,} segments of {name}; {most}", name))
    for file in found[:MOST_SEGMENTS]:
        shown = f"{folder}/{clean_text(file)}"
        try:
            part = checked_segment(path, (folder, file), table, budget)
        except faults as error:
            problems.append(Problem(f"{shown} {_why(error)}", name))
        else:
            closed.add(file)
            yield part
    if opened is not None and f"{name}-{opened[0]}.parquet" not in closed:
        if opened[2]:
            problems.append(Problem(f"{folder}/{live} {opened[2]}", name))
        yield opened[1]


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
