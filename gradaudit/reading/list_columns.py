"""Columns of lists as arrays of a frame: rows that hold the same list share one array."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import pyarrow

    Array = numpy.ndarray[Any, Any]


def begins(lists: "pyarrow.ListArray") -> "Array":
    """[rows]: whether a list differs from the one before; lists of different lengths all do."""
    import numpy

    flat, size = _even(lists)
    if size is None:
        return numpy.ones(len(lists), dtype=bool)
    # Compared as bytes: a NaN is then equal to itself.
    rows = flat.reshape(-1, size).view(f"V{size * flat.itemsize}").ravel() if size else flat[:0]
    mask = numpy.zeros(len(lists), dtype=bool)
    mask[:1] = True
    if size:
        mask[1:] = rows[1:] != rows[:-1]
    return mask


def objects(column: "pyarrow.ChunkedArray") -> "Array":
    """[rows] arrays, one for each list of the column; a list that is null is empty."""
    import numpy

    found = [numpy.empty(0, dtype=object)]
    for lists in column.chunks:
        flat, size = _even(lists)
        if size is None:
            whole = numpy.empty(len(lists), dtype=object)
            ends = numpy.asarray(lists.fill_null([]).value_lengths()).cumsum()
            whole[:] = numpy.split(flat, ends[:-1]) if len(ends) else []
            found.append(whole)
            continue
        starts = numpy.flatnonzero(begins(lists))
        different = numpy.empty(len(starts), dtype=object)
        for index, start in enumerate(starts.tolist()):
            different[index] = flat[start * size : (start + 1) * size]
        found.append(numpy.repeat(different, numpy.diff([*starts, len(lists)])))
    return numpy.concatenate(found)


def _even(lists: "pyarrow.ListArray") -> "tuple[Array, int | None]":
    """The values of all lists, and the length that they have in common."""
    import numpy

    flat = lists.flatten().to_numpy(zero_copy_only=False)
    if not len(lists):
        return flat, None
    size = len(flat) // len(lists)
    even = not lists.null_count and bool((numpy.asarray(lists.value_lengths()) == size).all())
    return numpy.ascontiguousarray(flat), size if even else None
