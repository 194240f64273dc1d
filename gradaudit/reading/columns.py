"""The columns of a part held against the schema of its table: names, types and values."""

from typing import TYPE_CHECKING

from gradaudit.guard import Refused
from gradaudit.reading.limits import Budget, weight_of_rows, weight_of_values, within
from gradaudit.schema import Table, arrow_schema

if TYPE_CHECKING:
    import pyarrow

LONGEST_NAME = 300


def required(table: Table) -> tuple[str, ...]:
    """The columns without which a row of `table` has no place: its key, and the step that it belongs to."""
    return (*table.key, *(column.name for column in table.columns if column.name in ("global_step", "after_step")))


def checked_columns(schema: "pyarrow.Schema", table: Table) -> None:
    """Raise Refused when these are not the columns of `table`: one is missing, there twice, or of another kind."""
    known = {column.name: column for column in table.columns}
    for name in schema.names:
        if name not in known and name.split(".")[0] in known:
            raise Refused(f"is not a {table.name} table (a column is called {name[:40]!r}) and was left out")
    for name, column in known.items():
        count = schema.names.count(name)
        if count > 1:
            raise Refused(f"is not a {table.name} table ({count} columns are called {name}) and was left out")
        if not count and (name in required(table) or column.dtype == "string"):
            raise Refused(f"is not a {table.name} table (no column {name}) and was left out")
        if count and not _fits(column.dtype, schema.field(name).type, name in required(table)):
            kind = str(schema.field(name).type)[:60]
            raise Refused(f"is not a {table.name} table (column {name} is {kind}) and was left out")


def _fits(dtype: str, kind: "pyarrow.DataType", key: bool) -> bool:
    import pyarrow.types as types

    if types.is_null(kind):
        return not key
    if dtype.startswith("list<"):
        return (types.is_list(kind) or types.is_large_list(kind)) and _fits(dtype[5:-1], kind.value_type, False)
    if dtype == "string":
        if types.is_dictionary(kind):
            kind = kind.value_type
        return bool(types.is_string(kind) or types.is_large_string(kind))
    if dtype == "bool":
        return bool(types.is_boolean(kind))
    if "float" in dtype:
        return bool(types.is_floating(kind))
    return bool(types.is_integer(kind))


def as_schema(data: "pyarrow.Table", table: Table, names: list[str]) -> "pyarrow.Table":
    """The named columns cast to the schema; one that `data` lacks is null."""
    import pyarrow

    schema = arrow_schema(table)
    columns = []
    for name in names:
        kind = schema.field(name).type
        if name not in data.column_names:
            columns.append(pyarrow.nulls(len(data), kind))
            continue
        values = data.column(name)
        columns.append(values if values.type == kind else values.cast(kind))
    return pyarrow.table(columns, names=names)


def weighed(data: "pyarrow.Table", table: Table, budget: Budget) -> None:
    """Take what these rows weigh off `budget`, once they are sound. Raises Refused, and pyarrow's errors."""
    budget.spend(weight_of_rows(table, len(data)) + weight_of_values(data, table))
    whole = as_schema(data, table, [column.name for column in table.columns])
    for column in table.columns:
        within(column, whole.column(column.name), column.name in required(table))


def short_texts(data: "pyarrow.Table") -> "pyarrow.Table":
    """`data` with its texts cut to twice `LONGEST_NAME`: a long one that is repeated in every row weighs too much."""
    import pyarrow
    import pyarrow.compute

    for index, field in enumerate(data.schema):
        if pyarrow.types.is_string(field.type):
            cut = pyarrow.compute.utf8_slice_codeunits(data.column(index), 0, 2 * LONGEST_NAME)
        elif pyarrow.types.is_dictionary(field.type):
            chunks = [
                pyarrow.DictionaryArray.from_arrays(
                    chunk.indices, pyarrow.compute.utf8_slice_codeunits(chunk.dictionary, 0, 2 * LONGEST_NAME)
                )
                for chunk in data.column(index).chunks
            ]
            cut = pyarrow.chunked_array(chunks, field.type)
        else:
            continue
        data = data.set_column(index, field.name, cut)
    return data
