"""The files of a table: closed Parquet segments and the open Arrow stream, of which any may be torn or foreign."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from gradaudit.schema import TABLES, Meta, Table, arrow_schema

if TYPE_CHECKING:
    import numpy
    import pyarrow


class Made(Protocol):
    """A part made of others when it is asked for."""

    def read(self, table: Table, names: list[str]) -> "pyarrow.Table":
        """The named columns, as the schema has them."""


Part: TypeAlias = "pyarrow.Table | Path | Made"

LONGEST_NAME = 300
MOST_BYTES = 256_000_000  # of one segment in memory; the recorder's largest takes about 110 MB
# Control characters, and the marks that reorder or hide text: a name must print as what it is.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def clean_text(text: str) -> str:
    """`text` on one line, with control and direction characters shown as escapes, at most `LONGEST_NAME` long."""
    if len(text) > LONGEST_NAME:
        half = LONGEST_NAME // 2
        text = f"{text[:half]}…{text[-half:]}"
    return _UNPRINTABLE.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def parts(path: Path, name: str, meta: Meta, problems: list[str]) -> Iterator[Part]:
    """The readable parts of one table of the process that `meta` describes: closed segments, then the open one."""
    import pyarrow
    import pyarrow.parquet

    folder = path / (f"rank{meta.rank:05d}" + (f".{meta.attempt}" if meta.attempt else ""))
    closed = set()
    if folder.is_symlink():
        return  # said where the ranks are put together
    live = folder / f"{name}.live.arrows"
    # Read first: a segment that is closed meanwhile is then seen twice, and not at all in the other order.
    opened = _read_live(live, name) if live.is_file() and not live.is_symlink() else None
    for file in sorted(folder.glob(f"{name}-*.parquet")):
        shown = f"{folder.name}/{clean_text(file.name)}"
        try:
            if file.is_symlink():
                problems.append(f"{shown} is a link and was not followed")
                continue
            if not file.is_file():  # opening a pipe would wait for ever
                problems.append(f"{shown} is no file and was left out")
                continue
            with pyarrow.parquet.ParquetFile(file, read_dictionary=_texts(TABLES[name])) as parquet:
                weight = _weight(parquet, TABLES[name])
                if weight > MOST_BYTES:
                    size = (
                        f"{weight / 1e6:,.0f} MB in memory, and the recorder makes none above {MOST_BYTES / 1e6:,.0f}"
                    )
                    problems.append(f"{shown} was left out: it takes {size}")
                    continue
                # Reading it all finds a truncated page here, not in the middle of an analysis.
                present = set(parquet.schema_arrow.names)
                missing = [key for key in TABLES[name].key if key not in present]
                if missing:
                    problems.append(f"{shown} is not a {name} table (no column {missing[0]}) and was left out")
                    continue
                for group in range(parquet.num_row_groups):
                    parquet.read_row_group(group, columns=[c.name for c in TABLES[name].columns if c.name in present])
            read(file, TABLES[name], [column.name for column in TABLES[name].columns])
        except PermissionError:
            problems.append(f"{shown} cannot be read (permission denied) and was left out")
            continue
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            problems.append(f"{shown} is damaged and was left out ({clean_text(str(error)).split('. ')[0][:120]})")
            continue
        closed.add(file.name)
        yield file
    if opened is not None and f"{name}-{opened[0]}.parquet" not in closed:
        yield opened[1]


def _read_live(file: Path, name: str) -> "tuple[str, pyarrow.Table] | None":
    """The number of the open segment, and its whole batches; None when there is none to read."""
    import pyarrow

    batches = []
    try:
        with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as stream:
            schema = stream.schema
            segment = (schema.metadata or {}).get(b"segment", b"").decode(errors="replace")
            for batch in stream:
                batches.append(batch)
    except (pyarrow.ArrowException, OSError):
        # The last batch is torn when the process was killed while writing it.
        if not batches:
            return None
    if any(key not in schema.names for key in TABLES[name].key):
        return None
    return segment, pyarrow.Table.from_batches(batches, schema)


def _texts(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.dtype == "string"]


def _weight(file: Any, table: Table) -> int:
    """Bytes that the columns of `table` take in memory, by the file's own account of its pages and values."""
    known = {column.name for column in table.columns}
    groups = (file.metadata.row_group(index) for index in range(file.metadata.num_row_groups))
    chunks = (group.column(index) for group in groups for index in range(group.num_columns))
    return sum(
        max(chunk.total_uncompressed_size, 8 * chunk.num_values)
        for chunk in chunks
        if chunk.path_in_schema.split(".")[0] in known
    )


def _short_texts(data: "pyarrow.Table") -> "pyarrow.Table":
    """`data` with its texts cut to twice `LONGEST_NAME`: a long one that is repeated in every row weighs too much."""
    import pyarrow
    import pyarrow.compute

    for index, field in enumerate(data.schema):
        if not pyarrow.types.is_dictionary(field.type):
            continue
        chunks = [
            pyarrow.DictionaryArray.from_arrays(
                chunk.indices, pyarrow.compute.utf8_slice_codeunits(chunk.dictionary, 0, 2 * LONGEST_NAME)
            )
            for chunk in data.column(index).chunks
        ]
        cut = pyarrow.chunked_array(chunks, field.type)
        data = data.set_column(index, field.name, cut.cast(field.type.value_type))
    return data


def read(part: Part, table: Table, names: list[str]) -> "pyarrow.Table":
    """The named columns of one part, cast to the schema; a column that the part lacks is null."""
    import pyarrow
    import pyarrow.parquet

    if isinstance(part, Path):
        with pyarrow.parquet.ParquetFile(part, read_dictionary=_texts(table)) as file:
            present = [name for name in names if name in file.schema_arrow.names]
            data = _short_texts(file.read(columns=present, use_threads=False))
    elif isinstance(part, pyarrow.Table):
        data = part
    else:
        return part.read(table, names)
    schema = arrow_schema(table)
    columns = [
        data.column(name).cast(schema.field(name).type)
        if name in data.column_names
        else pyarrow.nulls(len(data), schema.field(name).type)
        for name in names
    ]
    return pyarrow.table(columns, names=names)


def column(part: Part, table: Table, name: str) -> "numpy.ndarray[Any, Any]":
    """[rows] of one column of a part; a column that the part lacks is NaN."""
    array: numpy.ndarray[Any, Any] = read(part, table, [name]).column(name).to_numpy()
    return array


def table_of(table: Table, columns: dict[str, Any]) -> "pyarrow.Table":
    """Arrays, of numpy or of pyarrow, as columns of `table`."""
    import pyarrow

    schema = arrow_schema(table)
    arrays = [
        values if isinstance(values, pyarrow.ChunkedArray) else pyarrow.array(values, schema.field(name).type)
        for name, values in columns.items()
    ]
    return pyarrow.table(arrays, names=list(columns))
