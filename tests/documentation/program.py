"""What the program says of itself: its help, what the demo prints, the columns of a run, what it reads of torch."""

import click

from gradaudit.__main__ import main
from gradaudit.record.internals import INTERNALS
from gradaudit.schema import TABLES
from tests.samples import FOLDER as SAMPLES

WIDTH = 88


def help_block() -> str:
    """The real ``--help`` of the program and of each subcommand, each under its heading."""
    with click.Context(main, info_name="gradaudit", terminal_width=WIDTH, **main.context_settings) as program:
        parts = [_code(main.get_help(program))]
        for name in main.list_commands(program):
            command = main.get_command(program, name)
            with click.Context(command, info_name=name, parent=program, terminal_width=WIDTH) as context:
                parts += [f"## gradaudit {name}", _code(command.get_help(context))]
    return "\n\n".join(parts)


def _code(text: str) -> str:
    return f"```text\n{text}\n```"


def demo_block() -> str:
    """What `make demo` prints about the sample that it records."""
    return _code((SAMPLES / "initial_loss_mismatch" / "findings.txt").read_text(encoding="utf-8").rstrip())


def columns_block() -> str:
    """Every table of a run and its columns, from the schema."""
    parts = []
    for table in TABLES.values():
        parts.append(f"### {table.name}\n\nKey: {', '.join(f'`{key}`' for key in table.key)}. {table.doc}")
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
