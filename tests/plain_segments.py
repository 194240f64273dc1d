"""The rows of a segment of plain frames, as they lie on the disk."""

from pathlib import Path
from typing import Any

from gradaudit.schema.plain_arrow import batch_of, schema_of
from gradaudit.schema.plain_rows import columns_of, frames_of


def rows_in(file: Path) -> list[dict[str, Any]]:
    """Every whole row; none where the file is not made yet."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return []
    columns = columns_of(content)
    if columns is None:
        return []
    schema = schema_of(columns)
    batches = [batch_of(content, columns, frame, schema) for frame in frames_of(content, columns)]
    return [row for batch in batches for row in batch.to_pylist()]
