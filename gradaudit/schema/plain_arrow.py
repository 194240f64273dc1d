"""Plain frames as Arrow's tables."""

from typing import TYPE_CHECKING, Any

import numpy

from gradaudit.schema.plain_rows import Columns, Frame, Ragged, unpacked
from gradaudit.schema.tables import arrow_type

if TYPE_CHECKING:
    import pyarrow


def schema_of(columns: Columns) -> "pyarrow.Schema":
    """The columns of a file of plain frames; raises AttributeError for a type that no table has."""
    import pyarrow

    return pyarrow.schema([(name, arrow_type(columns.types[name])) for name in columns.names])


def batch_of(content: bytes, columns: Columns, frame: Frame, schema: "pyarrow.Schema") -> "pyarrow.RecordBatch":
    """The columns of `schema` of one frame; not validated. Raises DamagedError."""
    import pyarrow

    found = unpacked(content, columns, frame, schema.names)
    return pyarrow.RecordBatch.from_arrays([_array(field.type, found[field.name]) for field in schema], schema=schema)


def _array(kind: Any, values: Any) -> "pyarrow.Array":
    """From buffers: pyarrow.array() would import pandas."""
    import pyarrow

    if isinstance(values, Ragged):
        offsets = numpy.zeros(len(values.lengths) + 1, numpy.int32)
        numpy.cumsum(values.lengths, dtype=numpy.int32, out=offsets[1:])
        if pyarrow.types.is_string(kind):
            buffers = [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(numpy.ascontiguousarray(values.items))]
            return pyarrow.Array.from_buffers(kind, len(values.lengths), buffers)
        children = [_array(kind.value_type, values.items)]
        return pyarrow.Array.from_buffers(
            kind, len(values.lengths), [None, pyarrow.py_buffer(offsets)], children=children
        )
    if pyarrow.types.is_boolean(kind):
        bits = numpy.packbits(values != 0, bitorder="little")
        return pyarrow.Array.from_buffers(kind, len(values), [None, pyarrow.py_buffer(bits)])
    return pyarrow.Array.from_buffers(kind, len(values), [None, pyarrow.py_buffer(numpy.ascontiguousarray(values))])
