"""What a run may hold: the limits of its facts and of its tables, and the one budget that all of its tables share.

A recorder writes nothing near them. They bound what a run that somebody else prepared can take of the reader.
"""

from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from gradaudit.guard import Refused
from gradaudit.reading.list_columns import begins
from gradaudit.schema import Column, Table

if TYPE_CHECKING:
    import pyarrow

MOST_RANKS = 1024  # folders of processes; each takes some ten milliseconds to read
MOST_NAMES = 10_000  # of files in one folder
MOST_SEGMENTS = 1000  # of one table and process; a week of recording makes some thirty
MOST_FILE = 256_000_000  # bytes of a segment on disk, and of its pages; the recorder's largest takes about 110 MB
MOST_GROUPS = 4096  # entries of one list: parameter groups, bins, examples
MOST_TEXT = 100_000_000  # bytes of run.json; 20,000 tensors take 10 MB
# Bytes that the facts of all processes take in memory, by `weight_of_facts`: some 150,000 tensors, rank by rank.
MOST_FACTS = 250_000_000
# Bytes that all tables of a run take in memory at the peak of an analysis, by `weight_of_rows` and `weight_of_values`.
# A million steps of four tensors, all recorded, weigh 0.75 GB, and 150 tensors of 10,000 steps 0.15 GB. With 170 MB for
# Python and its libraries an analysis stays below 1 GB.
MOST_WEIGHT = 770_000_000
MOST_PAGES = 100_000  # pages of all columns, and batches of streams; a million steps of four tensors have 5,000
MOST_OPTIMIZERS = 400  # of one run; some trainings have one for each tensor
MOST_STEPS = 2_000_000  # of all optimizers; more take minutes
MOST_SPLITS = 1000  # names of evaluated data
MOST_HISTOGRAM_STEPS = 2000  # steps with histograms; a million steps have some 180

_WIDTH = {"bool": 1, "int8": 1, "int16": 2, "int32": 4, "float32": 4, "string": 16}
# How often an analysis holds the rows of a table at its peak, as measured with a run that is at the limit.
_COPIES = {"steps": 1.25, "evaluations": 3, "modules": 1.5, "histograms": 1.5, "rows": 1.5, "tensors": 1.3}
_OBJECT = 128  # bytes of a small array as an element of a column
_WHOLE = 2**53  # beyond it a float64 no longer holds a whole number

# (least, greatest) of every number in the facts, by its name; of a list or a table, of each entry.
NUMBERS: dict[str, tuple[float, float]] = {
    "after": (0, _WHOLE),
    "alone": (0, _WHOLE),
    "apart": (0, _WHOLE),
    "attempt": (0, 1000),
    "axis": (0, 64),
    "batch_norm_values": (-1, _WHOLE),
    "batch_size": (-1, _WHOLE),
    "batches_per_epoch": (-1, _WHOLE),
    "before": (0, _WHOLE),
    "beside": (0, _WHOLE),
    "broadcast": (0, _WHOLE),
    "class_weights": (-1e300, 1e300),
    "classes": (0, 2**40),
    "count": (0, _WHOLE),
    "defaults": (-1e300, 1e300),
    "depth": (-1, 2**31),
    "evaluation_broadcast": (0, _WHOLE),
    "every": (0, 2**31),
    "exit_code": (-(2**31), 2**32),
    "first": (-1, _WHOLE),
    "group": (-1, 2**31),
    "groups": (0, 2**31),
    "id": (-1, 2**31 - 1),
    "ignore_index": (-(2**63), 2**63 - 1),
    "label_counts": (0, _WHOLE),
    "last": (-1, _WHOLE),
    "nodes": (0, _WHOLE),
    "optimizer": (-1, 2**31),
    "optimizers": (-1, 2**31),
    "output_axis": (-1, 64),
    "parameters": (0, _WHOLE),
    "pid": (0, 2**31 - 1),
    "probed": (-1, _WHOLE),
    "rank": (0, 99_999),
    "reaches_back": (0, _WHOLE),
    "recorded_with": (-1, 2**31),
    "restarts": (0, 2**31),
    "rows": (0, _WHOLE),
    "shape": (0, _WHOLE),
    "share": (-1, _WHOLE),
    "sizes": (0, _WHOLE),
    "step": (-1, _WHOLE),
    "summed": (0, 64),
    "tensors": (-1, 2**31),
    "unknown": (0, _WHOLE),
    "used": (0, _WHOLE),
    "world_size": (1, 2**31),
}
_ANY_NUMBER = (-1e300, 1e300)
# How many entries a list or table of the facts may have.
LENGTHS = {"shape": 64, "disabled": 100, "placements": 64, "aliases": 10_000, "losses": 1000, "class_weights": 100_000,
           "label_counts": 100_000, "broadcast": 16, "evaluation_broadcast": 16, "defaults": 1000,
           "command": 100_000, "sizes": 64, "before": 64, "after": 64, "operations": 64, "looks": 10_000,
           "softmaxes": 10_000, "views": 10_000}  # fmt: skip
MOST_ELEMENTS = 2**62  # of one tensor
# Columns whose values are bit patterns, or lie on both sides of 0.
_SIGNED = ("weight_checksum", "checksum", "lowest")


def weight_of_facts(text: bytes) -> int:
    """Bytes that JSON facts take when they are objects, at most: counted before they are made."""
    return len(text) + 400 * text.count(b"{") + 64 * text.count(b"[") + 32 * text.count(b",")


def checked(value: Any, name: str = "", depth: int = 0) -> None:
    """Raise Refused when a number of these facts, or a list, lies beyond its limits."""
    if isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            checked(getattr(value, field), field, depth + 1)
        shape = getattr(value, "shape", None)
        if shape is not None and value.elements > MOST_ELEMENTS:  # type: ignore[attr-defined]
            raise Refused(f"says that a tensor has the shape {str(shape)[:60]}, and no memory holds one")
    elif isinstance(value, list | dict):
        if len(value) > LENGTHS.get(name, len(value)):
            raise Refused(f"has {len(value):,} entries of {name}, and {LENGTHS[name]:,} are the most that is written")
        for item in value.values() if isinstance(value, dict) else value:
            checked(item, name, depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        least, most = NUMBERS.get(name, _ANY_NUMBER)
        if not least <= value <= most:
            shown = f"{value:g}" if isinstance(value, float) else str(value) if abs(value) < 10**20 else "beyond 10**20"
            raise Refused(f"says that {name} is {shown}, which no recorder writes")


def weight_of_rows(table: Table, rows: int) -> int:
    """Bytes that so many rows of `table` take in an analysis, without what their texts and lists hold."""
    # A list is an object of its own where rows seldom repeat them; the few of `steps` mostly do.
    of_lists = 8 if table.name == "steps" else 8 + _OBJECT
    width = sum(of_lists if c.dtype.startswith("list") else _WIDTH.get(c.dtype, 8) for c in table.columns)
    return int(rows * width * _COPIES.get(table.name, 1))


def weight_of_values(data: "pyarrow.Table", table: Table) -> int:
    """Bytes that the lists and texts of some rows take, each list counted once where it repeats the one before."""
    import pyarrow
    import pyarrow.compute

    weight = 0
    for name in (column.name for column in table.columns if column.name in data.column_names):
        for chunk in data.column(name).chunks:
            if pyarrow.types.is_dictionary(chunk.type):
                lengths = pyarrow.compute.binary_length(chunk.dictionary).take(chunk.indices)
                weight += pyarrow.compute.sum(lengths).as_py() or 0
            elif pyarrow.types.is_string(chunk.type):
                weight += pyarrow.compute.sum(pyarrow.compute.binary_length(chunk)).as_py() or 0
            elif pyarrow.types.is_list(chunk.type):
                weight += _OBJECT * int(begins(chunk).sum()) + chunk.flatten().nbytes
    return int(weight)


def within(column: Column, values: "pyarrow.ChunkedArray", key: bool) -> None:
    """Raise Refused when a column of a table holds what no recorder writes: a null in a key, a number too far."""
    import pyarrow
    import pyarrow.compute

    if key and values.null_count:
        raise Refused(f"was left out: {values.null_count:,} of its rows have no {column.name}")
    if pyarrow.types.is_list(values.type):
        longest = pyarrow.compute.max(pyarrow.compute.list_value_length(values)).as_py() or 0
        if longest > MOST_GROUPS:
            raise Refused(f"was left out: a list in column {column.name} has {longest:,} entries")
        _no_gaps(column, values, most=len(values) - 1)
        values = pyarrow.compute.list_flatten(values)
        _no_gaps(column, values, most=len(values))
    else:
        _no_gaps(column, values, most=len(values) - 1)
    if not pyarrow.types.is_integer(values.type) or column.name in _SIGNED:
        return
    ends = pyarrow.compute.min_max(values)
    least, most = ends["min"].as_py(), ends["max"].as_py()
    if least is not None and not (least >= -1 and most <= _WHOLE):
        raise Refused(f"was left out: column {column.name} holds {least if least < -1 else most}")


def _no_gaps(column: Column, values: "pyarrow.ChunkedArray", most: int) -> None:
    """A column of nulls was not recorded, and of numbers with a fraction a null is a NaN; others have none."""
    import pyarrow

    if 0 < values.null_count <= most and not pyarrow.types.is_floating(values.type):
        raise Refused(f"was left out: {values.null_count:,} of its rows have no {column.name}")


class Budget:
    """What is left for the tables and facts of one run."""

    def __init__(self) -> None:
        self.weight, self.facts, self.pages = MOST_WEIGHT, MOST_FACTS, MOST_PAGES

    def turn(self) -> None:
        """Count a page, or a batch. Raises Refused."""
        self.pages -= 1
        if self.pages < 0:
            raise Refused(f"was left out: the tables of the run have more than {MOST_PAGES:,} pages")

    def refuse(self, weight: int) -> NoReturn:
        """Raise Refused for what takes `weight` bytes."""
        raise Refused(
            f"was left out: it takes {weight / 1e6:,.0f} MB in memory, and of the {MOST_WEIGHT / 1e6:,.0f} MB that "
            f"the tables of a run may take {self.weight / 1e6:,.0f} MB are left"
        )

    def spend(self, weight: int) -> None:
        """Take `weight` bytes off. Raises Refused when they are not left."""
        if weight > self.weight:
            self.refuse(weight)
        self.weight -= weight

    def spend_facts(self, text: bytes) -> None:
        """The same for facts as JSON."""
        weight = weight_of_facts(text)
        if weight > self.facts:
            raise Refused(f"was left out: its facts take {weight / 1e6:,.0f} MB in memory, more than is left")
        self.facts -= weight
