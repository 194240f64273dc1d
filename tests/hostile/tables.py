"""Mutations of tables: of values, of keys, of schemas, and files that are larger than they look."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet

from gradaudit.schema import TABLES, arrow_schema

NAN, INF = float("nan"), float("inf")
FLOATS = [NAN, INF, -INF, 1e308, -1e308, 3e38, 0.0, -0.0, -1.0, 1e-320, 1e30, None]
WHOLE = [-1, 0, 1, 127, 2**15 - 1, 2**31 - 1, 2**53, 2**62, -(2**62), None]
TEXTS = ["", "train", "validation", "x" * 2000, "\x1b[31m", "é\u202e", "gradient", "loss_input", None]

Change = Callable[[pyarrow.Table, str, Random], pyarrow.Table]


def _file(run: Path, random: Random) -> Path | None:
    found = [file for file in sorted(run.glob("rank*/*")) if file.suffix in (".parquet", ".arrows")]
    found = [file for file in found if file.is_file() and not file.is_symlink()]
    return random.choice(found) if found else None


def changed(change: Change) -> Callable[[Path, Random], None]:
    """A mutation that reads a file of a table, changes it and writes it back as what it was."""

    def mutation(run: Path, random: Random) -> None:
        file = _file(run, random)
        if file is None:
            return
        name = file.name.split(".")[0].split("-")[0]
        try:
            if file.suffix == ".parquet":
                table = pyarrow.parquet.read_table(pyarrow.BufferReader(file.read_bytes()))
            else:
                table = pyarrow.ipc.open_stream(file.read_bytes()).read_all()
        except (pyarrow.ArrowException, OSError, ValueError):
            return  # damaged before
        if not len(table) or name not in TABLES:
            return
        with suppress(pyarrow.ArrowNotImplementedError):  # no file can hold it
            write(file, change(table, name, random), random)

    mutation.__name__ = change.__name__
    return mutation


def write(file: Path, table: pyarrow.Table, random: Random) -> None:
    """Write a table as Parquet or as a stream, the latter compressed now and then."""
    if file.suffix == ".parquet":
        pyarrow.parquet.write_table(table, file, compression="zstd", row_group_size=random.choice([None, 7]))
        return
    options = pyarrow.ipc.IpcWriteOptions(compression=random.choice([None, None, None, "lz4", "zstd"]))
    schema = table.schema.with_metadata({"segment": "000000"})
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, schema, options=options) as stream:
        stream.write_table(table.cast(schema), max_chunksize=random.choice([None, 3]))


def _set(table: pyarrow.Table, name: str, values: Any) -> pyarrow.Table:
    index = table.column_names.index(name)
    return table.set_column(index, table.schema.field(index).with_nullable(True), pyarrow.chunked_array([values]))


def _hostile(kind: pyarrow.DataType, random: Random) -> Any:
    if pyarrow.types.is_list(kind):
        return random.choice([None, [], *[[_hostile(kind.value_type, random)] * n for n in (1, 2, 40)]])
    if pyarrow.types.is_floating(kind):
        return random.choice(FLOATS)
    if pyarrow.types.is_boolean(kind):
        return random.choice([True, False, None])
    if pyarrow.types.is_integer(kind):
        most = 2 ** (kind.bit_width - 1)
        return random.choice([value for value in WHOLE if value is None or -most <= value < most])
    return random.choice(TEXTS)


def values(table: pyarrow.Table, name: str, random: Random) -> pyarrow.Table:
    """Odd values in some rows of some columns, or in all of them."""
    for column in random.sample(table.column_names, random.choice([1, 1, 2, min(8, table.num_columns)])):
        kind = table.schema.field(column).type
        share = random.choice([0.0, 0.02, 0.5, 1.0])
        rows = [row for row in range(len(table)) if random.random() < share] or [random.randrange(len(table))]
        found = table.column(column).to_pylist()
        value = _hostile(kind, random)
        for row in rows:
            found[row] = value if random.random() < 0.8 else _hostile(kind, random)
        table = _set(table, column, pyarrow.array(found, kind))
    return table


def floats(table: pyarrow.Table, name: str, random: Random) -> pyarrow.Table:
    """One odd number in every column of floats, from some row on."""
    value, start = random.choice(FLOATS), random.randrange(len(table))
    for field in table.schema:
        if pyarrow.types.is_floating(field.type):
            kept = table.column(field.name).to_pylist()[:start]
            table = _set(table, field.name, pyarrow.array(kept + [value] * (len(table) - start), field.type))
    return table


def order(table: pyarrow.Table, name: str, random: Random) -> pyarrow.Table:
    """Rows in another order, several times, or only some."""
    rows = list(range(len(table)))
    match random.choice(["shuffle", "reverse", "twice", "some", "one", "none", "thousand times"]):
        case "shuffle":
            random.shuffle(rows)
        case "reverse":
            rows.reverse()
        case "twice":
            rows = rows + rows
        case "some":
            rows = [row for row in rows if random.random() < 0.5]
        case "one":
            rows = rows[:1]
        case "none":
            rows = []
        case "thousand times":
            rows = rows[:5] * 1000
    return table.take(pyarrow.array(rows, pyarrow.int64()))


def keys(table: pyarrow.Table, name: str, random: Random) -> pyarrow.Table:
    """Keys that are all the same, all different, or far away."""
    column = random.choice([key for key in TABLES[name].key if key in table.column_names] or table.column_names)
    kind = table.schema.field(column).type
    count = len(table)
    if not pyarrow.types.is_integer(kind):
        return _set(table, column, pyarrow.array([_hostile(kind, random)] * count, kind))
    most = 2 ** (kind.bit_width - 1) - 1
    numbers = random.choice(
        [numpy.zeros(count), numpy.arange(count), numpy.full(count, most), numpy.full(count, -1),
         most - numpy.arange(count), numpy.arange(count) * (min(most, 2**53) // max(1, count)), numpy.arange(count) - 5]
    )  # fmt: skip
    # Of the greatest int64 a float64 has no neighbour.
    whole = numpy.clip(numbers, -float(most), 2**62 if most > 2**53 else most).astype("int64")
    return _set(table, column, pyarrow.array(whole).cast(kind, safe=False))


def columns(table: pyarrow.Table, name: str, random: Random) -> pyarrow.Table:
    """A column missing, twice, renamed, of another type, or more of them."""
    column = random.choice(table.column_names)
    index = table.column_names.index(column)
    count = len(table)
    match random.choice(["missing", "twice", "renamed", "other", "other", "other", "more", "few"]):
        case "missing":
            return table.drop_columns([column])
        case "twice":
            return table.append_column(column, table.column(column))
        case "renamed":
            return table.rename_columns([*table.column_names[:index], f"{column}.x", *table.column_names[index + 1 :]])
        case "more":
            return table.append_column("unknown", pyarrow.array([{"a": [1]}] * count))
        case "few":
            return table.select(random.sample(table.column_names, random.randrange(1, table.num_columns)))
    other = random.choice(
        [["text"] * count, [1.5] * count, [2**40] * count, [[1]] * count, [{"a": 1}] * count, [None] * count,
         [b"x"] * count, [True] * count, [["a"]] * count]
    )  # fmt: skip
    array = pyarrow.array(other)
    kind = random.random()
    if kind < 0.2:
        array = array.dictionary_encode() if not pyarrow.types.is_nested(array.type) else array
    elif kind < 0.3:
        array = pyarrow.array([numpy.datetime64(0, "s")] * count)
    return table.set_column(index, column, array)


def bomb(run: Path, random: Random) -> None:
    """A file, or many, that unpack to far more than they hold."""
    name = random.choice(["steps", "tensors", "evaluations", "histograms"])
    folder = run / "rank00000"
    if folder.is_symlink() or not folder.is_dir():
        return
    rows = random.choice([10_000, 300_000])
    arrays = []
    for field in arrow_schema(TABLES[name]):
        if pyarrow.types.is_list(field.type):
            offsets = pyarrow.array(numpy.zeros(rows + 1, dtype=numpy.int32))
            arrays.append(pyarrow.ListArray.from_arrays(offsets, pyarrow.array([], field.type.value_type)))
        else:
            arrays.append(pyarrow.array(numpy.zeros(rows)).cast(field.type))
    table = pyarrow.table(arrays, schema=arrow_schema(TABLES[name]))
    first = folder / f"{name}-000500.parquet"
    if random.random() < 0.4:
        target = folder / f"{name}.live.arrows"
        if not target.exists() and not target.is_symlink():
            options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
            with (
                pyarrow.OSFile(str(target), "wb") as sink,
                pyarrow.ipc.new_stream(sink, table.schema.with_metadata({"segment": "9"}), options=options) as stream,
            ):
                for _ in range(10):
                    stream.write_table(table)
        return
    pyarrow.parquet.write_table(table, first, compression="zstd")
    for number in range(501, 501 + random.choice([0, 20])):
        (folder / f"{name}-{number:06d}.parquet").write_bytes(first.read_bytes())


TABLE_MUTATIONS: list[Callable[[Path, Random], None]] = [
    *map(changed, [values, values, values, floats, floats, order, order, keys, keys, columns, columns]), bomb,
]  # fmt: skip
