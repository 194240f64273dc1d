"""An audit whose every text attacks the report that shows it."""

from itertools import count
from typing import Any, Literal, get_origin, get_type_hints

import msgspec

PAYLOADS = (
    "</script><script>window.pwned=1</script>",
    "<!--<script>",
    "<img src=x onerror=window.pwned=1>",
    "\"><svg onload=window.pwned=1>",
    "' onmouseover='window.pwned=1' x='",
    " onfocus=window.pwned=1 autofocus ",
    "javascript:window.pwned=1",
    "</style><style>*{display:none}</style>",
    "</title></svg><script>window.pwned=1</script>",
    "]]><script>window.pwned=1</script>",
    "{{ 7 * 7 }}{% include 'report.css' %}",
    "${window.pwned=1}`${window.pwned=1}`",
    "https://attacker.invalid/beacon.png",
    "url(https://attacker.invalid/x)",
    "\x1b]0;pwned\x07\x1b[2J\x1b[31m",
    "safe\u202egnp.exe\u2066\u200b",
    "nul\x00\x01\ufffe\uffff",
    "[/red][bold]",
    "line\n::error::boo\r\n",
    "&lt;script&gt;&#x3c;",
)  # fmt: skip
KEPT = {"state", "started"}  # a closed set, and a time that is cut to its date


def poisoned(value: Any, field: str = "") -> Any:
    """A copy of an audit with a payload in every text, each time the next one."""
    return _poison(value, field, count())


def _poison(value: Any, field: str, turn: Any) -> Any:
    if type(value) is str:
        return value if field in KEPT else f"{value[:12]}{PAYLOADS[next(turn) % len(PAYLOADS)]}"
    if isinstance(value, list | tuple):
        return type(value)(_poison(item, field, turn) for item in value)
    if isinstance(value, dict):
        return {key: _poison(item, field, turn) for key, item in value.items()}
    if isinstance(value, msgspec.Struct):
        # Other values of these are refused when JSON is read.
        kept = {name for name, kind in get_type_hints(type(value)).items() if get_origin(kind) is Literal}
        given = {name: getattr(value, name) for name in value.__struct_fields__}
        fields = {name: one if name in kept else _poison(one, name, turn) for name, one in given.items()}
        return type(value)(**fields)
    return value
