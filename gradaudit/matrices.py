"""Long columns of table `tensors` laid out as matrices of steps and tensors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradaudit.schema import TABLES
from gradaudit.segments import Part, read

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

_LARGE = 100_000  # rows; below, what Arrow keeps for later is not worth asking back


def tensor_column(parts: Iterable[Part], name: str) -> "Array":
    """[rows of `tensors`]: one column; flags as float32, counts, which may be null, as float64."""
    import numpy
    import pyarrow

    table = TABLES["tensors"]
    dtype = table.column(name).dtype
    dtype = "float32" if dtype == "bool" else dtype if name in table.key or dtype == "float32" else "float64"
    chunks = [read(part, table, [name]).column(name).to_numpy().astype(dtype) for part in parts]
    values = numpy.concatenate(chunks) if chunks else numpy.zeros(0, dtype)
    if len(values) > _LARGE:
        pyarrow.default_memory_pool().release_unused()
    return values


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

    place = numpy.full(max(int(tensor.max(initial=0)), max(identifiers, default=0)) + 1, -1)
    place[[i for i in identifiers if i >= 0]] = [n for n, i in enumerate(identifiers) if i >= 0]
    mine = (owner == optimizer) & (tensor >= 0)
    rows = slice(0, len(owner)) if mine.all() else numpy.flatnonzero(mine)
    other = step[rows] != step[rows][:1]
    count = int(other.argmax()) if other.any() else len(other)  # rows of the first step
    if count and len(other) % count == 0:
        by_step, by_tensor = step[rows].reshape(-1, count), tensor[rows].reshape(-1, count)
        columns = place[by_tensor[0]]
        whole = (by_step == by_step[:, :1]).all() and (by_tensor == by_tensor[0]).all() and (columns >= 0).all()
        if whole and (numpy.diff(by_step[:, 0]) > 0).all() and len(set(columns.tolist())) == count:
            return Layout(by_step[:, 0].copy(), rows, None, columns, len(identifiers))
    rows = numpy.flatnonzero(mine)
    rows = rows[place[tensor[rows]] >= 0]
    steps, at = numpy.unique(step[rows], return_inverse=True)
    return Layout(steps, rows, at, place[tensor[rows]], len(identifiers))
