"""A table of a run as a pandas frame."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradaudit.reading.list_columns import objects
from gradaudit.reading.matrices import LARGE
from gradaudit.reading.segments import LazyPart, read
from gradaudit.schema import TABLES, arrow_schema

if TYPE_CHECKING:
    import numpy
    import pandas
    import pyarrow

    Integers = numpy.ndarray[Any, numpy.dtype[numpy.int64]]


def frame(
    recorded: "Sequence[pyarrow.Table | LazyPart]",
    name: str,
    names: list[str] | None = None,
    rows: "Integers | None" = None,
) -> "pandas.DataFrame":
    """A table, or some of its columns and rows; column by column, so that it is held once."""
    import pandas
    import pyarrow

    table = TABLES[name]
    columns: dict[str, Any] = {}
    for column in table.columns:
        if names is not None and column.name not in names:
            continue
        kind = arrow_schema(table).field(column.name).type
        parts = [read(part, table, [column.name]).column(column.name) for part in recorded]
        values = pyarrow.chunked_array([chunk for part in parts for chunk in part.chunks], kind)
        del parts
        if column.dtype.startswith("list"):
            series: Any = objects(values)
        elif column.dtype == "bool":
            series = values.fill_null(False).to_numpy()
        else:
            series = values.to_pandas()
            # Arrow lends its memory read-only; a copy lets go of it.
            lent = isinstance(series.array, pandas.arrays.NumpyExtensionArray) and not series.values.flags.writeable
            series = series.copy() if lent and rows is None else series
        if rows is not None:
            series = series[rows] if not isinstance(series, pandas.Series) else series.take(rows)
            series = series.reset_index(drop=True) if isinstance(series, pandas.Series) else series
        columns[column.name] = series
        if len(values) > LARGE:
            del values
            pyarrow.default_memory_pool().release_unused()
    return pandas.DataFrame(columns, copy=False)
