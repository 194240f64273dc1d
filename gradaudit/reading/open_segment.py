"""A segment of plain frames: the recorder still appends to it, did so when it was killed, or nobody made it Parquet.

The frames are checked once, and then read column by column out of the bytes that were checked: the file may grow
meanwhile, or become a Parquet file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradaudit import guard
from gradaudit.guard import Refused
from gradaudit.reading.columns import as_schema, checked_columns, short_texts, weighed
from gradaudit.reading.limits import MOST_FILE, Budget, weight_of_rows
from gradaudit.schema import Table
from gradaudit.schema.plain_arrow import batch_of, schema_of
from gradaudit.schema.plain_rows import Columns, DamagedError, Frame, columns_of, frames_of

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, eq=False)
class Open:
    """The sound frames of a segment."""

    content: bytes
    columns: Columns
    frames: tuple[Frame, ...]

    def __len__(self) -> int:
        """Rows of the frames."""
        return sum(frame.rows for frame in self.frames)

    def read(self, table: Table, names: list[str]) -> "pyarrow.Table":
        """The named columns, as the schema has them."""
        import pyarrow

        whole = schema_of(self.columns)
        schema = pyarrow.schema([whole.field(name) for name in names if name in whole.names])
        batches = (batch_of(self.content, self.columns, frame, schema) for frame in self.frames)
        # Cut before they are all there: long texts may weigh more than everything else.
        cut = [short_texts(pyarrow.Table.from_batches([batch])) for batch in batches]
        return as_schema(pyarrow.concat_tables(cut), table, names)


def checked_rows(run: Path, place: tuple[str, ...], table: Table, budget: Budget) -> tuple[Open | None, str]:
    """The segment at `place`, None where it holds nothing yet, and why the rest of it was left out, if so.

    What its frames weigh is taken off `budget`. Raises Refused, OSError, and DamagedError where nothing is sound.
    """
    import pyarrow

    content = guard.content(run, *place, most=MOST_FILE)
    columns = columns_of(content)
    if columns is None:
        return None, ""
    schema = schema_of(columns)
    checked_columns(schema, table)
    known = {column.name for column in table.columns}
    schema = pyarrow.schema([field for field in schema if field.name in known])
    budget.spend(len(content))
    frames: list[Frame] = []
    fault = ""
    try:
        for frame in frames_of(content, columns):
            budget.turn()
            if weight_of_rows(table, frame.rows) > budget.weight:
                budget.refuse(weight_of_rows(table, frame.rows))
            batch = batch_of(content, columns, frame, schema)
            batch.validate(full=True)
            weighed(pyarrow.Table.from_batches([batch]), table, budget)
            frames.append(frame)
    except Refused as refused:
        fault = str(refused)
    except (DamagedError, pyarrow.ArrowException, ValueError):
        fault = "is damaged, and was left out from there on"
    if not frames and fault:
        raise Refused(fault)
    return (Open(content, columns, tuple(frames)) if frames else None), fault
