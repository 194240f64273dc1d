"""The words that docs/style.md rules out stand nowhere where users read."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STYLE = ROOT / "docs" / "style.md"

# Python files whose docstrings, strings and comments are read, most of all where they reach users: in findings, on
# pages, in --help and in the documentation.
TOLD = (
    *("diagnosers", "evidence", "report", "audit", "commands", "signals", "reading", "record"),
    *("findings.py", "diagnoser.py", "chart_data.py", "schema", "training.py"),
)
TEXTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "docs/**/*.md",
    "templates/*",
    "sample_runs/README.md",
)
# Words that are right in their place, by file, each with its reason.
KNOWN: dict[str, set[str]] = {}


def banned(section: str) -> list[str]:
    """The words of the second column of the first table under this heading of docs/style.md."""
    text = STYLE.read_text(encoding="utf-8").split(f"### {section}\n")[1]
    table = re.search(r"\| say \| not \|\n\|---\|---\|\n((?:\|.*\n)+)", text)
    assert table
    return [word for row in table[1].splitlines() for word in re.findall(r"`([^`]+)`", row.split("|")[2])]


def pattern(words: list[str]) -> re.Pattern[str]:
    """Any of these as whole words, over the end of a line, too."""
    choices = "|".join(r"\s+".join(map(re.escape, word.split())) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{choices})(?![\w-])", re.IGNORECASE)


def parts(name: str) -> str:
    """The words of a name: "rising rate" of `rising_rate`, `RISING_RATE` and `RisingRate`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name).strip().lower()


SENTENCES = pattern(banned("In sentences"))
NAMES = pattern(banned("In names"))
WORDS_OF_NAMES = pattern([parts(word) for word in banned("In names")] + banned("In sentences"))
POWERS = re.compile(r"\d(?:\.\d+)?e[+-]?\d+ times")


def strings(file: Path) -> Iterator[tuple[int, str]]:
    """Each string of a Python file, docstrings and the parts of f-strings among them, with its line."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def comments(file: Path) -> Iterator[tuple[int, str]]:
    """Each comment of a Python file with its line; those of lines that follow each other in one."""
    first, last, text = 0, 0, ""
    with tokenize.open(file) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type != tokenize.COMMENT:
                continue
            if text and token.start[0] != last + 1:
                yield first, text
                text = ""
            first, last = first if text else token.start[0], token.start[0]
            text += token.string.lstrip("#") + "\n"
    if text:
        yield first, text


def names(file: Path) -> Iterator[tuple[int, str]]:
    """Each function, class, parameter, variable and attribute that a Python file defines, with its line."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def spoken() -> list[Path]:
    places = [ROOT / "gradaudit" / name for name in TOLD]
    return sorted(file for place in places for file in ([place] if place.is_file() else place.rglob("*.py")))


def written() -> list[Path]:
    found = {file for glob in TEXTS for file in ROOT.glob(glob) if file.is_file() and file != STYLE}
    return sorted(found)


def faults(text: str) -> list[str]:
    return [match[0] for one in (SENTENCES, POWERS) for match in one.finditer(text)]


def test_the_tables_of_banned_words_are_read():
    assert {"could not look", "even guess", "mend", "pace"} <= set(banned("In sentences"))
    assert {"gentle_rate", "face"} <= set(banned("In names"))
    assert faults("The pace is 1.3e7 times\nthat of an even\nguess") == ["pace", "even\nguess", "1.3e7 times"]
    assert not faults("space, recommend, a landscape of mended-up names")


def test_comments_and_names_are_read(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        "class RisingRate:  # one\n    # the rate\n    # is gone\n    seam = 1\n\n\n# two\n", encoding="utf-8"
    )
    assert list(comments(file)) == [(1, " one\n the rate\n is gone\n"), (7, " two\n")]
    assert [fault for _, text in comments(file) for fault in faults(text)] == ["rate\n is gone"]
    found = [name for _, name in names(file) if WORDS_OF_NAMES.search(parts(name))]
    assert found == ["RisingRate", "seam"]


@pytest.mark.parametrize("file", spoken(), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_code_uses_the_vocabulary(file):
    """In strings and comments, and in the names that it defines."""
    known = KNOWN.get(str(file.relative_to(ROOT)), set())
    said = [(line, fault) for line, text in (*strings(file), *comments(file)) for fault in faults(text)]
    said += [(line, name) for line, name in names(file) if WORDS_OF_NAMES.search(parts(name))]
    found = [f"line {line}: {fault!r}" for line, fault in said if fault not in known]
    assert not found, f"{file.relative_to(ROOT)} says {', '.join(found)}; docs/style.md has the words for it"


@pytest.mark.parametrize("file", written(), ids=lambda file: str(file.relative_to(ROOT)))
def test_texts_use_the_vocabulary(file):
    found = faults(file.read_text(encoding="utf-8"))
    assert not found, f"{file.relative_to(ROOT)} says {', '.join(found)}; docs/style.md has the words for it"


def test_public_names_use_the_vocabulary():
    """Thresholds, JSON keys, columns and options."""
    import click
    import msgspec

    from gradaudit.__main__ import main
    from gradaudit.audit.compare import Comparison
    from gradaudit.audit.result import Audit
    from gradaudit.diagnosers import all_diagnosers
    from gradaudit.schema import TABLES

    names = {f"{item.name}.{option}" for item in all_diagnosers() for option in (item.name, *item.thresholds)}
    names |= {f"table {table.name}: {column.name}" for table in TABLES.values() for column in table.columns}
    for root in (Audit, Comparison):
        _, parts = msgspec.json.schema_components([root])
        names |= {f"JSON {part}: {key}" for part, shape in parts.items() for key in shape.get("properties", ())}
    with click.Context(main) as context:
        for name in main.list_commands(context):
            command = main.get_command(context, name)
            names |= {f"option of {name}: {option}" for one in command.params for option in one.opts}
    found = sorted(name for name in names if NAMES.search(re.split(r"[. ]", name)[-1]))
    assert not found, f"docs/style.md has other words for {', '.join(found)}"
