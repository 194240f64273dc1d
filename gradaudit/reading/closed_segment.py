"""A closed segment of a table: a Parquet file that is checked once, and then read column by column."""

import inspect
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradaudit import guard
from gradaudit.guard import Identity, Refused
from gradaudit.reading.columns import as_schema, checked_columns, short_texts, weighed
from gradaudit.reading.limits import MOST_FILE, Budget, weight_of_rows
from gradaudit.reading.page_headers import MOST_FOOTER, chunks, unpacked
from gradaudit.schema import Table, UserError

if TYPE_CHECKING:
    import pyarrow

MOST_COLUMNS = 200


@dataclass(frozen=True)
class Closed:
    """A segment that was found sound; `identity` tells whether it still is what was checked."""

    run: Path
    place: tuple[str, ...]
    identity: Identity
    rows: int

    def __len__(self) -> int:
        """Rows of the segment."""
        return self.rows

    def read(self, table: Table, names: list[str]) -> "pyarrow.Table":
        """The named columns, as the schema has them."""
        with guard.opened(self.run, *self.place, most=MOST_FILE) as file:
            if guard.identity(file) != self.identity:
                place = self.run.joinpath(*self.place)
                raise UserError(f"{place} was changed while the run was read; analyze it again")
            with _parquet(file, table) as parquet:
                return as_schema(_rows(parquet, names), table, names)


def checked_segment(run: Path, place: tuple[str, ...], table: Table, budget: Budget) -> Closed:
    """The segment at `place`, after its size was taken off `budget` and everything in it was read once.

    Raises Refused, and OSError, ValueError or pyarrow's errors for a damaged file.
    """
    names = [column.name for column in table.columns]
    with guard.opened(run, *place, most=MOST_FILE) as file:
        weight = _weight(file, table, budget)
        if weight > budget.weight:
            budget.refuse(weight)
        with _parquet(file, table) as parquet:
            checked_columns(parquet.schema_arrow, table)
            data = _rows(parquet, names, check=True)
        weighed(data, table, budget)
        return Closed(run, place, guard.identity(file), len(data))


def _parquet(file: io.FileIO, table: Table) -> Any:
    import pyarrow
    import pyarrow.parquet

    texts = [column.name for column in table.columns if column.dtype == "string"]
    try:
        return pyarrow.parquet.ParquetFile(
            pyarrow.PythonFile(file, mode="r"), read_dictionary=texts, pre_buffer=False, **_options()
        )
    except KeyError as missing:
        name = missing.args[0].decode(errors="replace")
        raise Refused(f"is not a {table.name} table (no column {name}) and was left out") from None


@cache
def _options() -> dict[str, int]:
    """How pyarrow shall read a file that may be anything; older releases have fewer ways."""
    import pyarrow.parquet

    wanted = {"thrift_string_size_limit": MOST_FOOTER, "thrift_container_size_limit": 100_000, "schema_depth_limit": 16,
              "arrow_extensions_enabled": False}  # fmt: skip
    known = inspect.signature(pyarrow.parquet.ParquetFile.__init__).parameters
    return {name: limit for name, limit in wanted.items() if name in known}


def _rows(parquet: Any, names: list[str], check: bool = False) -> "pyarrow.Table":
    present = [name for name in names if name in parquet.schema_arrow.names]
    data: pyarrow.Table = parquet.read(columns=present, use_threads=False)
    if check:
        data.validate(full=True)
    return short_texts(data)


def _weight(file: io.FileIO, table: Table, budget: Budget) -> int:
    """Bytes that the columns of `table` take in memory at least, by the headers of their pages."""
    known = {column.name: column for column in table.columns}
    rows = weight = 0
    for group in chunks(file):
        if len(group) > MOST_COLUMNS:
            raise Refused(f"was left out: it has {len(group):,} columns")
        rows += group[0].rows if group else 0
        for chunk in group:
            budget.turn()
            column = known.get(chunk.name)
            if column is None:
                continue
            if chunk.values != chunk.rows and not column.dtype.startswith("list"):
                raise ValueError(f"column {column.name} has {chunk.values:,} values in {chunk.rows:,} rows")
            weight += unpacked(file, chunk, budget.turn) + 8 * max(0, chunk.values - chunk.rows)
    return max(weight, weight_of_rows(table, rows))
