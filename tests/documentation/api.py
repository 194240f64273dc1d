"""The Python interface: docstrings, signatures and fields of what `gradaudit` exports and of what that returns."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import gradaudit
from gradaudit.audit.causes import RankedFinding
from gradaudit.audit.compare import Comparison, Followed, Pair
from gradaudit.audit.result import Audit, Outcome
from gradaudit.audit.runner import UnknownNameError
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Failed,
    Finding,
    Found,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
)
from gradaudit.reading.run import Run
from gradaudit.reading.run_file import RunError
from gradaudit.schema import UserError
from gradaudit.training import Training

# In the order in which one meets them.
EXPORTED = [gradaudit.Recorder, gradaudit.load, gradaudit.analyze, gradaudit.compare]
RETURNED = [
    Run, Training, Audit, RankedFinding, Finding, Measure, Span, Action, Severity, Confidence,
    Outcome, Found, Clean, NotApplicable, Skipped, Failed,
    Comparison, Pair, Followed,
]  # fmt: skip
ERRORS = [UserError, RunError, UnknownNameError]
# Public for other rooms of gradaudit, and no part of what users are promised.
INTERNAL = {"parts", "layouts", "matrices", "answers", "forget", "training", "ranks", "overview"}


def block() -> str:
    """The whole reference."""
    exported = [_entry(item, f"gradaudit.{item.__name__}", "##") for item in EXPORTED]
    returned = [_entry(item, item.__name__, "###") for item in RETURNED]
    errors = [f"| `{item.__name__}` | `{item.__module__}` | {_flat(item)} |" for item in ERRORS]
    table = "\n".join(["| error | from | when |", "|---|---|---|", *errors])
    return "\n\n".join([*exported, "## What they return", *returned, "## Errors", table])


def _entry(item: Any, title: str, heading: str) -> str:
    parts = [f"{heading} {title}"]
    if item not in EXPORTED:
        parts.append(f"`from {item.__module__} import {item.__name__}`")
    elif inspect.isclass(item):
        parts.append(_signature(item.__init__, title))
    else:
        parts.append(_signature(item, title))
    parts.append(markdown(inspect.getdoc(item) or ""))
    if inspect.isclass(item):
        fields = "\n".join(f"| `{name}` | `{kind}` | {meaning} |" for name, kind, meaning in _fields(item))
        parts += [f"| field | type | meaning |\n|---|---|---|\n{fields}"] if fields else []
        parts += list(_members(item))
    return "\n\n".join(parts)


def _signature(function: Callable[..., Any], title: str) -> str:
    """How it is called: as the source says, a line if it fits, else an argument a line."""
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef)
    arguments = _arguments(node.args)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    line = f"{title}({', '.join(arguments)}){returns}"
    if len(line) > 88:
        line = "\n".join([f"{title}(", *(f"    {one}," for one in arguments), f"){returns}"])
    return f"```python\n{line.replace(chr(39), chr(34))}\n```"


def _arguments(arguments: ast.arguments) -> list[str]:
    """Each argument with its type and default, without `self`."""
    node = ast.unparse(arguments)
    cut = ast.parse(f"def f({node}): ...").body[0]
    assert isinstance(cut, ast.FunctionDef)
    texts = []
    plain = cut.args.posonlyargs + cut.args.args
    defaults = [None] * (len(plain) - len(cut.args.defaults)) + list(cut.args.defaults)
    for one, default in zip(plain, defaults, strict=True):
        texts += [] if one.arg == "self" else [_argument(one, default)]
    if cut.args.vararg:
        texts.append(f"*{_argument(cut.args.vararg, None)}")
    elif cut.args.kwonlyargs:
        texts.append("*")
    return texts + [
        _argument(one, default) for one, default in zip(cut.args.kwonlyargs, cut.args.kw_defaults, strict=True)
    ]


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    return f"{argument.arg}{kind}{'' if default is None else f' = {ast.unparse(default)}'}"


def _fields(item: type) -> Iterator[tuple[str, str, str]]:
    """Each field with its type and the comment behind it; the members of an enumeration with their values."""
    source = textwrap.dedent(inspect.getsource(item))
    lines = source.splitlines()
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id not in INTERNAL:
            comment = re.search(r"#\s*(.*)$", lines[node.end_lineno - 1])  # type: ignore[operator]
            kind = ast.unparse(node.annotation).strip("'\"").replace("|", "\\|")
            yield node.target.id, kind, comment[1].replace("|", "\\|") if comment else ""
        elif isinstance(node, ast.Assign) and issubclass(item, str):
            yield ast.unparse(node.targets[0]), ast.unparse(node.value).strip("'"), ""


def _members(item: type) -> Iterator[str]:
    """Public methods, and what is worked out when it is first asked for."""
    methods, worked_out = [], []
    for name, member in vars(item).items():
        if name.startswith("_") or name in INTERNAL:
            continue
        if isinstance(member, property | cached_property):
            function = member.fget if isinstance(member, property) else member.func
            worked_out.append(f"| `{name}` | {_flat(function)} |")
        elif inspect.isfunction(member):
            methods.append(
                f"{_signature(member, f'{item.__name__}.{name}')}\n\n{markdown(inspect.getdoc(member) or '')}"
            )
    if worked_out:
        yield "\n".join(["| property | what it is |", "|---|---|", *worked_out])
    yield from methods


def _flat(item: Any) -> str:
    """A docstring without examples, in one line of a table."""
    text = re.split(r"\n\n(?=\s*>>>)", inspect.getdoc(item) or "")[0]
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def markdown(docstring: str) -> str:
    """A docstring as Markdown: examples become blocks of code."""
    parts = []
    for paragraph in re.split(r"\n\n+", docstring):
        if re.match(r"\s*>>>", paragraph):
            parts.append(f"```pycon\n{textwrap.dedent(paragraph)}\n```")
        elif paragraph.startswith("    "):
            parts.append(f"```python\n{textwrap.dedent(paragraph)}\n```")
        else:
            parts.append(" ".join(paragraph.split()).replace("``", "`"))
    return "\n\n".join(parts)
