"""The generated blocks of README.md; ``python -m tests.documentation`` rewrites them."""

import re
from collections.abc import Callable
from pathlib import Path

import click

from gradaudit.__main__ import main
from gradaudit.diagnosers import all_diagnosers
from gradaudit.record.internals import INTERNALS
from gradaudit.schema import TABLES
from tests.samples import FOLDER as SAMPLES

README = Path(__file__).parents[1] / "README.md"
REWRITE = "make docs"


def help_block() -> str:
    """The real ``--help`` of the program and of each subcommand."""
    pages = []
    with click.Context(main, info_name="gradaudit", terminal_width=88, **main.context_settings) as program:
        pages.append(main.get_help(program))
        for name in main.list_commands(program):
            command = main.get_command(program, name)
            with click.Context(command, info_name=name, parent=program, terminal_width=88) as context:
                pages.append(command.get_help(context))
    return "```text\n" + "\n\n\n".join(pages) + "\n```"


def demo_block() -> str:
    """What `make demo` prints about the sample that it records."""
    return f"```text\n{(SAMPLES / 'initial_loss_mismatch' / 'findings.txt').read_text(encoding='utf-8').rstrip()}\n```"


def diagnosers_block() -> str:
    """Every diagnoser with its failing sentence."""
    rows = [f"| `{item.name}` | {' '.join(item.documentation.headline.split())} |" for item in all_diagnosers()]
    return "\n".join(["| diagnoser | what a run shows |", "|---|---|", *rows])


def columns_block() -> str:
    """Every table of a run and its columns, from schema.py."""
    parts = []
    for table in TABLES.values():
        parts.append(f"**`{table.name}`** (key: {', '.join(table.key)}). {table.doc}")
        rows = [f"| `{c.name}` | {c.dtype} | {c.unit} | {c.doc.replace('|', chr(92) + '|')} |" for c in table.columns]
        parts.append("\n".join(["| column | type | unit | meaning |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts)


def internals_block() -> str:
    """The private attributes that the recorder reads, from internals.py."""
    rows = [
        f"| `{one.name}` | {one.of} | {one.since or '–'} | `{'`, `'.join(one.where)}` | {one.without} |"
        for one in INTERNALS
    ]
    return "\n".join(["| attribute | of | since | read in | what is lost without it |", "|---|---|---|---|---|", *rows])


BLOCKS: dict[str, Callable[[], str]] = {
    "demo": demo_block,
    "diagnosers": diagnosers_block,
    "help": help_block,
    "columns": columns_block,
    "internals": internals_block,
}


def renewed(text: str) -> str:
    """`text` with every block between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` written anew."""
    for name, block in BLOCKS.items():
        pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
        text, count = re.subn(pattern, lambda m: f"{m[1]}{block()}\n{m[2]}", text, flags=re.DOTALL)  # noqa: B023
        assert count == 1, f"README.md has {count} blocks called {name}"
    return text


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
    click.echo("wrote README.md")
