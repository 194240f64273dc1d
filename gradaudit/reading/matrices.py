"""Long columns of table `tensors` laid out as matrices of steps and tensors."""

from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradaudit.guard import Refused
from gradaudit.reading.limits import (
    MOST_HISTOGRAM_STEPS,
    MOST_OPTIMIZERS,
    MOST_SPLITS,
    MOST_STEPS,
    Budget,
    weight_of_rows,
)
from gradaudit.reading.segments import Part, Problem, column, read
from gradaudit.schema import TABLES, Meta

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

_WEIGHT_OF_A_RATE = 24  # bytes: the matrix that is kept, and one or two that are made of it
LARGE = 100_000  # rows; below, what Arrow keeps for later is not worth asking back


def tensor_column(parts: Iterable[Part], name: str) -> "Array":
    """[rows of `tensors`]: one column; flags as float32, counts, which may be null, as float64."""
    import numpy
    import pyarrow

    table = TABLES["tensors"]
    dtype = table.column(name).dtype
    dtype = "float32" if dtype == "bool" else dtype if name in table.key or dtype == "float32" else "float64"
    chunks = [read(part, table, [name]).column(name).to_numpy().astype(dtype) for part in parts]
    values = numpy.concatenate(chunks) if chunks else numpy.zeros(0, dtype)
    if len(values) > LARGE:
        pyarrow.default_memory_pool().release_unused()
    return values


class Places:
    """Identifiers mapped to places: looked up, since an identifier may be any number and must not size anything."""

    def __init__(self, places: Mapping[int, int]) -> None:
        import numpy

        self.known = numpy.asarray(sorted(places), dtype=numpy.int64)
        self.places = numpy.asarray([places[identifier] for identifier in self.known.tolist()], dtype=numpy.int64)

    def __call__(self, identifiers: "Array") -> "Array":
        """[identifiers]: the place of each; -1 for one that is not known."""
        import numpy

        if not len(self.known):
            return numpy.full(identifiers.shape, -1)
        at = numpy.minimum(numpy.searchsorted(self.known, identifiers), len(self.known) - 1)
        return numpy.where(self.known[at] == identifiers, self.places[at], -1)


def within_matrices(
    parts: MutableMapping[str, tuple[Part, ...]], meta: Meta, problems: list[Problem], budget: Budget
) -> None:
    """Leave tables out whose keys would make more optimizers or larger matrices than `budget` has room for."""
    import numpy

    for name in TABLES:
        if "optimizer" not in TABLES[name].key:
            continue
        owners = {int(owner) for part in parts[name] for owner in numpy.unique(column(part, TABLES[name], "optimizer"))}
        if len(owners) > MOST_OPTIMIZERS:
            problems.append(Problem(f"table {name} was left out: it names {len(owners):,} optimizers", name))
            parts[name] = ()
    for name, column_name, most in (
        ("evaluations", "split", MOST_SPLITS),
        ("histograms", "step", MOST_HISTOGRAM_STEPS),
    ):
        different = {value for part in parts[name] for value in _distinct(part, name, column_name, most)}
        if len(different) > most:
            problems.append(Problem(f"table {name} was left out: it has more than {most:,} {column_name}s", name))
            parts[name] = ()
    steps_in_all = sum(map(len, parts["steps"]))
    if steps_in_all > MOST_STEPS:
        why = f"it has {steps_in_all:,} rows, and {MOST_STEPS:,} are the most"
        problems.append(Problem(f"table steps was left out: {why}", "steps"))
        parts["steps"] = ()
    try:
        budget.spend(_WEIGHT_OF_A_RATE * _rates(parts["steps"]))
    except Refused as refused:
        problems.append(Problem(f"table steps {refused}", "steps"))
        parts["steps"] = ()
    sizes = Counter(facts.recorded_with for facts in meta.tensors)
    steps: dict[int, set[int]] = {}
    rows = 0
    for part in parts["tensors"]:
        owner, step = (column(part, TABLES["tensors"], key) for key in ("optimizer", "step"))
        rows += len(owner)
        for optimizer in numpy.unique(owner).tolist():
            steps.setdefault(optimizer, set()).update(numpy.unique(step[owner == optimizer]).tolist())
    cells = sum(len(mine) * sizes[optimizer] for optimizer, mine in steps.items())
    try:
        # A cell without a row takes as much as one with it.
        budget.spend(weight_of_rows(TABLES["tensors"], max(0, cells - rows)))
    except Refused as refused:
        problems.append(Problem(f"table tensors {refused}", "tensors"))
        parts["tensors"] = ()


def _distinct(part: Part, name: str, column: str, most: int) -> list[Any]:
    """The different values of a column, as far as it matters how many there are."""
    found: list[Any] = read(part, TABLES[name], [column]).column(column).unique()[: most + 1].to_pylist()
    return found


def _rates(parts: Iterable[Part]) -> int:
    """Cells of the matrices of steps and parameter groups, whose lists may each have another length."""
    import numpy
    import pyarrow.compute as compute

    rows: Counter[int] = Counter()
    longest: Counter[int] = Counter()
    for part in parts:
        data = read(part, TABLES["steps"], ["optimizer", "learning_rate", "weight_decay"])
        owner = data.column("optimizer").to_numpy()
        lengths = [compute.list_value_length(data.column(name)).fill_null(0) for name in data.column_names[1:]]
        most = numpy.maximum(*(column.to_numpy() for column in lengths))
        for optimizer in numpy.unique(owner).tolist():
            mine = owner == optimizer
            rows[optimizer] += int(mine.sum())
            longest[optimizer] = max(longest[optimizer], int(most[mine].max()))
    return sum(rows[optimizer] * longest[optimizer] for optimizer in rows)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the rows of one optimizer go in a matrix."""

    steps: "Array"  # [recorded steps] ascending
    rows: Any  # which rows of the table: a slice, or their numbers
    step: "Array | None"  # [rows] row of the matrix; None where every step has every tensor, in the same order
    tensor: "Array"  # [rows] column of the matrix; [tensors] where every step has every tensor
    tensors: int

    def matrix(self, column: "Array") -> "Array":
        """[recorded steps, tensors] of a column of the table; NaN where it has no row."""
        import numpy

        laid = numpy.full((len(self.steps), self.tensors), numpy.nan, column.dtype)
        if self.step is None:
            laid[:, self.tensor] = column[self.rows].reshape(len(self.steps), len(self.tensor))
        else:
            laid[self.step, self.tensor] = column[self.rows]
        return laid


def layout(owner: "Array", step: "Array", tensor: "Array", optimizer: int, identifiers: list[int]) -> Layout:
    """The layout of one optimizer's rows, whose tensors have these identifiers; other tensors are left out.

    `owner`, `step` and `tensor` are the key columns of the whole table.
    """
    import numpy

    columns_of = Places({identifier: place for place, identifier in enumerate(identifiers) if identifier >= 0})
    mine = (owner == optimizer) & (tensor >= 0)
    rows = slice(0, len(owner)) if mine.all() else numpy.flatnonzero(mine)
    other = step[rows] != step[rows][:1]
    count = int(other.argmax()) if other.any() else len(other)  # rows of the first step
    if count and len(other) % count == 0:
        by_step, by_tensor = step[rows].reshape(-1, count), tensor[rows].reshape(-1, count)
        columns = columns_of(by_tensor[0])
        whole = (by_step == by_step[:, :1]).all() and (by_tensor == by_tensor[0]).all() and (columns >= 0).all()
        if whole and (numpy.diff(by_step[:, 0]) > 0).all() and len(set(columns.tolist())) == count:
            return Layout(by_step[:, 0].copy(), rows, None, columns, len(identifiers))
    rows = numpy.flatnonzero(mine)
    columns = columns_of(tensor[rows])
    rows, columns = rows[columns >= 0], columns[columns >= 0]
    steps, at = numpy.unique(step[rows], return_inverse=True)
    return Layout(steps, rows, at, columns, len(identifiers))
