"""Plain segments to Parquet: by the command that waited for the training, or by the training's own thread at its end.

Nothing here knows torch. A segment that cannot be made a Parquet file stays as it is, and is read as it is.
"""

import contextlib
import io
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradaudit import endings
from gradaudit.record.storage import disk
from gradaudit.schema import TABLES, Table, arrow_schema
from gradaudit.schema.plain_rows import DamagedError, columns_of, frames_of, head

if TYPE_CHECKING:
    import pyarrow

PLAIN = ".rows"
SECONDS = 25.0  # that the command takes for all segments of a run; the others stay as they are
_MOST_FACTS = 100_000_000  # bytes of run.json


def main(directory: str) -> None:
    """Make Parquet files of the segments below `directory` that nobody appends to any more."""
    run, until = Path(directory), time.monotonic() + SECONDS
    with contextlib.suppress(Exception):
        for folder in sorted(run.glob("rank*")):
            if folder.is_dir() and not folder.is_symlink():
                to_parquet(folder, lambda: time.monotonic() < until, whole=_has_ended(run, folder))


def _has_ended(run: Path, folder: Path) -> bool:
    """Whether the process that wrote `folder` appends to it no more."""
    place = ("run.json",) if folder.name == "rank00000" else (folder.name, "rank.json")
    facts = endings.facts(run, *place, most=_MOST_FACTS)
    pid, private, ended = facts.get("pid"), facts.get("private"), endings.ending(run)
    if type(pid) is not int or not pid:
        return False
    if ended is not None and ended.pid == pid:
        return True
    # Of a process elsewhere nothing is known but what it says of itself.
    here = isinstance(private, dict) and private.get("host") == socket.gethostname()
    return not endings.alive(pid) and (here or facts.get("state") != "running")


def to_parquet(folder: Path, there_is_time: Callable[[], bool], whole: bool = True) -> None:
    """Make Parquet files of the plain segments in `folder`; not `whole` leaves the last one of each table."""
    for table in TABLES.values():
        files = sorted(folder.glob(f"{table.name}-??????{PLAIN}"))
        for file in files if whole else files[:-1]:
            if not there_is_time():
                return
            with contextlib.suppress(Exception):
                _convert(file, table)


def _convert(file: Path, table: Table) -> None:
    """Write the Parquet file, then remove the plain one: a reader that sees both knows they are one."""
    target = file.with_suffix(".parquet")
    if not target.exists():
        data = _table(file, table)
        if data is None:
            return
        disk.replace(target, _parquet(data, table), sync=True)
    file.unlink()


def _table(file: Path, table: Table) -> "pyarrow.Table | None":
    """The rows of a plain segment; None where it has other columns, is damaged, or holds nothing."""
    import pyarrow

    from gradaudit.schema.plain_arrow import batch_of

    content = disk.whole(file)
    columns = columns_of(content)
    if columns is None or not content.startswith(head(table)):
        return None
    schema = arrow_schema(table)
    try:
        batches = [batch_of(content, columns, frame, schema) for frame in frames_of(content, columns)]
        for batch in batches:
            batch.validate(full=True)
    except (DamagedError, pyarrow.ArrowException):
        return None  # the reader says what is missing
    return pyarrow.Table.from_batches(batches, schema) if batches else None


def _parquet(data: "pyarrow.Table", table: Table) -> Any:
    """The content of the Parquet file."""
    import pyarrow
    import pyarrow.parquet

    keys = [name for name in table.key if name not in ("split", "time")]
    floats = [field.name for field in data.schema if field.type in (pyarrow.float32(), pyarrow.float64())]
    content = io.BytesIO()
    pyarrow.parquet.write_table(
        data,
        content,
        compression="zstd",
        use_dictionary=keys,
        # Floats of one column share their exponents: byte planes compress to half of plain ones.
        use_byte_stream_split=floats,
        write_statistics=keys,
    )
    return content.getbuffer()
