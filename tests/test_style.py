"""The words that docs/style.md rules out stand nowhere where users read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STYLE = ROOT / "docs" / "style.md"

# Python files whose docstrings and strings reach users: in findings, on pages, in --help and in the documentation.
TOLD = ("diagnosers", "evidence", "report", "audit", "commands")
TEXTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "docs/**/*.md",
    "templates/*",
    "sample_runs/README.md",
)
# Still to be reworded; nothing is added here.
KNOWN = {"gradaudit/diagnosers/learning_rate_schedule.py": {"rate is gone"}}


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


SENTENCES = pattern(banned("In sentences"))
NAMES = pattern(banned("In names"))
POWERS = re.compile(r"\d(?:\.\d+)?e[+-]?\d+ times")


def strings(file: Path) -> Iterator[tuple[int, str]]:
    """Each string of a Python file, docstrings and the parts of f-strings among them, with its line."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def spoken() -> list[Path]:
    return sorted(file for room in TOLD for file in (ROOT / "gradaudit" / room).rglob("*.py"))


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


@pytest.mark.parametrize("file", spoken(), ids=lambda file: str(file.relative_to(ROOT)))
def test_strings_of_the_code_use_the_vocabulary(file):
    known = KNOWN.get(str(file.relative_to(ROOT)), set())
    found = [f"line {line}: {fault!r}" for line, text in strings(file) for fault in faults(text) if fault not in known]
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
