"""The whole audit as JSON: written with the same bytes each time, and read back without loss; and its JSON Schema."""

from pathlib import Path
from typing import Any

import msgspec

from gradaudit.audit import AUDIT_VERSION, Audit
from gradaudit.schema import UserError

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
    return parse(path.read_bytes(), str(path))


def parse(text: bytes | str, source: str) -> Audit:
    """The audit in `text`; `source` names it in errors. Raises AuditFileError."""
    try:
        audit = msgspec.json.decode(text, type=Audit)
    except msgspec.MsgspecError as error:
        raise AuditFileError(f"{source} is not an audit: {error}") from None
    if audit.audit_version > AUDIT_VERSION:
        raise AuditFileError(
            f"{source} has audit version {audit.audit_version}, and this gradaudit reads up to {AUDIT_VERSION}: "
            "upgrade gradaudit (pip install -U gradaudit)"
        )
    return audit


def schema() -> str:
    """The JSON Schema of `render`, as published in ``audit.schema.json``."""
    (reference,), definitions = msgspec.json.schema_components([Audit], ref_template="#/$defs/{name}")
    whole: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"gradaudit audit, version {AUDIT_VERSION}",
        **reference,
        "$defs": definitions,
    }
    return msgspec.json.format(msgspec.json.encode(whole)).decode() + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
