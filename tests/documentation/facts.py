"""What ``run.json`` holds, from the structs of the schema: their docstrings, and the comments beside their fields."""

import ast
import inspect
import re
from pathlib import Path

import msgspec

from gradaudit.schema import Facts, Meta

_COMMENT = re.compile(r"\s{2}# (.*)$")


def facts_block() -> str:
    """Every struct of a run's facts, from `Meta` down, each with its fields."""
    return "\n\n".join(_section(each) for each in _structs(Meta))


def _structs(root: type[Facts]) -> list[type[Facts]]:
    """`root` and all structs that its fields hold, each once, in the order of the fields."""
    found = [root]
    for field in msgspec.structs.fields(root):
        for each in _inside(field.type):
            found += [one for one in _structs(each) if one not in found]
    return found


def _inside(kind: object) -> list[type[Facts]]:
    if isinstance(kind, type) and issubclass(kind, Facts):
        return [kind]
    return [one for part in getattr(kind, "__args__", ()) for one in _inside(part)]


def _section(struct: type[Facts]) -> str:
    lines = Path(inspect.getfile(struct)).read_text(encoding="utf-8").splitlines()
    tree = ast.parse("\n".join(lines))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == struct.__name__).body
    fields = [node for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    rows = []
    for node in fields:
        kind = re.sub(r"\b(?!None\b)[A-Z]\w+", _linked, ast.unparse(node.annotation)).replace("|", "or")
        rows.append(f"| `{ast.unparse(node.target)}` | {kind} | {_said(lines, node).replace('|', chr(92) + '|')} |")
    said = " ".join((inspect.getdoc(struct) or "").split())
    head = f"### {_title(struct.__name__)}\n\n{said}\n\n| field | type | meaning |\n|---|---|---|"
    return "\n".join([head, *rows])


def _title(name: str) -> str:
    return "run.json" if name == "Meta" else name


def _linked(found: re.Match[str]) -> str:
    return f"[{found[0]}](#{found[0].lower()})"


def _said(lines: list[str], node: ast.AnnAssign) -> str:
    """The comment at the end of the field's lines, or the lines of comment above it."""
    beside = _COMMENT.search(lines[(node.end_lineno or node.lineno) - 1])
    if beside:
        return beside[1]
    above = []
    place = node.lineno - 2
    while lines[place].lstrip().startswith("# "):
        above.insert(0, lines[place].strip()[2:])
        place -= 1
    return " ".join(above)
