"""What a diagnoser is: a pure generator over a `Run` or `Training` with a documented page and named thresholds."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from gradaudit.findings import Severity, Verdict
from gradaudit.schema import TABLES

SECTIONS = ("What it looks for", "Why it matters", "What to try", "When it is wrong")

Check = Callable[..., Iterator[Verdict]]
Per = Literal["run", "training"]


@dataclass(frozen=True)
class Documentation:
    """The page of a diagnoser: `headline` is the failing sentence, `sections` the four of `SECTIONS`."""

    headline: str
    sections: MappingProxyType[str, str]


@dataclass(frozen=True)
class Diagnoser:
    """One rule. Its `name` is the file, the anchor, the sample run and the test file."""

    name: str
    check: Check
    per: Per  # what `check` is called with: the run, or each training of it
    worst: Severity
    needs: tuple[str, ...]  # "table" or "table.column"
    minimum_steps: int
    explains: tuple[str, ...]  # diagnosers whose findings are consequences of this one's
    thresholds: MappingProxyType[str, float] = field(default_factory=lambda: MappingProxyType({}))
    documentation: Documentation = Documentation("", MappingProxyType({}))


def parse_documentation(docstring: str) -> Documentation:
    """Split a module docstring into its failing sentence and its ``## `` sections."""
    head, *parts = re.split(r"^## (.+)$", inspect.cleandoc(docstring), flags=re.MULTILINE)
    sections = {title.strip(): body.strip() for title, body in zip(parts[::2], parts[1::2], strict=True)}
    return Documentation(head.strip(), MappingProxyType(sections))


def diagnoser(
    *,
    worst: Severity,
    per: Per = "run",
    needs: tuple[str, ...] = (),
    minimum_steps: int = 1,
    explains: tuple[str, ...] = (),
) -> Callable[[Check], Diagnoser]:
    """Turn a generator function over a `Run`, or over a `Training`, into a `Diagnoser`.

    Where there are several trainings the runner says in what was found, and in what is clean, whose it is. Thresholds
    are the function's keyword-only arguments. Raises ValueError at import when `needs` names a table or column that the
    schema does not have.
    """
    for need in needs:
        table, _, column = need.partition(".")
        if table not in TABLES or (column and column not in {c.name for c in TABLES[table].columns}):
            raise ValueError(f"needs names {need!r}, which no table of schema.py has")

    def wrap(check: Check) -> Diagnoser:
        module: Any = inspect.getmodule(check)
        parameters = inspect.signature(check).parameters.values()
        return Diagnoser(
            name=check.__name__,
            check=check,
            per=per,
            worst=worst,
            needs=needs,
            minimum_steps=minimum_steps,
            explains=explains,
            thresholds=MappingProxyType({p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}),
            documentation=parse_documentation(module.__doc__ or ""),
        )

    return wrap
