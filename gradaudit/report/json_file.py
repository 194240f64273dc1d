"""The whole audit as JSON: written with the same bytes each time, and read back without loss; and its JSON Schema."""

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from gradaudit.audit.result import AUDIT_VERSION, Audit
from gradaudit.schema import UserError

# What an audit may hold. One of 20,000 tensors has 15 MB and 1.5 million values, and a value takes up to 100 bytes.
MOST_BYTES, MOST_VALUES, LONGEST_TEXT = 100_000_000, 5_000_000, 1_000_000
LARGEST = 2**63  # whole number
MOST_FINDINGS, DEEPEST = 10_000, 100  # each under the one that explains it

SCHEMA = Path(__file__).with_name("audit.schema.json")
RENEW = "make docs"


class AuditFileError(UserError):
    """The file is not an audit that this gradaudit reads."""


def render(audit: Audit) -> str:
    """The audit as one JSON document, fields in the order of their declaration."""
    # Read once, so that a whole number in a field of floats is written the same before and after a round trip.
    settled = msgspec.json.decode(msgspec.json.encode(audit), type=Audit)
    return msgspec.json.encode(settled).decode() + "\n"


def write(audit: Audit, path: Path) -> None:
    """Write `render(audit)` to `path`; raises OSError."""
    path.write_text(render(audit), encoding="utf-8")


def read(path: Path) -> Audit:
    """The audit in a file that `write` wrote. Raises AuditFileError when it is none, OSError when unreadable."""
    if path.is_symlink() and os.path.lexists(path.parent / "run.json"):
        raise AuditFileError(f"{path} is a link, and links in a run are not followed; name what it points to")
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a FIFO would be waited for, and a device may never end
        raise AuditFileError(f"{path} is no regular file; give the JSON that gradaudit analyze --format json wrote")
    if found.st_size > MOST_BYTES:
        raise AuditFileError(f"{path} has {found.st_size / 1e6:,.0f} MB, and no audit has that many")
    with path.open("rb") as file:
        return parse(file.read(MOST_BYTES), str(path))


def parse(text: bytes | str, source: str) -> Audit:
    """The audit in `text`; `source` names it in errors. Raises AuditFileError."""
    text = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if sum(map(text.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise AuditFileError(f"{source} holds more than {MOST_VALUES:,} values, and no audit has that many")
    try:
        audit = msgspec.json.decode(text, type=Audit)
    except RecursionError:
        raise AuditFileError(f"{source} is not an audit: it is nested too deeply") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise AuditFileError(f"{source} is not an audit: {error}") from None
    if audit.audit_version > AUDIT_VERSION:
        raise AuditFileError(
            f"{source} has audit version {audit.audit_version}, and this gradaudit reads up to {AUDIT_VERSION}: "
            "upgrade gradaudit (pip install -U gradaudit)"
        )
    _check(audit, source)
    return audit


@contextmanager
def doubted(source: str) -> Iterator[None]:
    """In the block, what was read from `source` is drawn; values that contradict each other raise AuditFileError.

    Without a source, an error there is ours.
    """
    try:
        yield
    except (UserError, MemoryError, OSError):
        raise
    except Exception as error:
        if not source:
            raise
        reason = f"{type(error).__name__}: {str(error)[:200]}".rstrip(": ")
        raise AuditFileError(f"{source} cannot be shown: what it holds does not fit together ({reason})") from None


def _check(audit: Audit, source: str) -> None:
    """Hold the values of an audit to what one can have. Raises AuditFileError."""
    level, depth, findings = audit.ranked, 0, 0
    while level:
        depth, findings = depth + 1, findings + len(level)
        if depth > DEEPEST or findings > MOST_FINDINGS:
            raise AuditFileError(f"{source} holds more findings than an audit can, or nests them too deeply")
        level = [below for item in level for below in item.consequences]
    if sum(len(outcome.findings) for outcome in audit.outcomes) > MOST_FINDINGS:
        raise AuditFileError(f"{source} holds more findings than an audit can")
    left: list[Any] = [audit]
    while left:
        value = left.pop()
        if isinstance(value, msgspec.Struct):
            left.extend(getattr(value, name) for name in value.__struct_fields__)
        elif isinstance(value, dict):
            left.extend(value)
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            left.extend(value)
        elif isinstance(value, str):
            if len(value) > LONGEST_TEXT:
                raise AuditFileError(f"{source} holds a text of {len(value):,} characters, and no audit has that")
        elif isinstance(value, int | float) and not abs(value) < (LARGEST if isinstance(value, int) else math.inf):
            raise AuditFileError(f"{source} holds a number beyond all bounds")


def schema() -> str:
    """The JSON Schema of `render`, as published in ``audit.schema.json``."""
    (reference,), definitions = msgspec.json.schema_components([Audit], ref_template="#/$defs/{name}")
    for definition in definitions.values():
        if "description" in definition:  # a docstring, whose examples are Python's
            definition["description"] = definition["description"].partition(">>>")[0].rstrip()
    whole: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"gradaudit audit, version {AUDIT_VERSION}",
        **reference,
        "$defs": definitions,
    }
    return msgspec.json.format(msgspec.json.encode(whole)).decode() + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
