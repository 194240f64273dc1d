"""`gradaudit render`: the report again, from the JSON of an audit."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradaudit.commands.output import STDOUT, size, targets, write
from gradaudit.commands.output import render as draw
from gradaudit.commands.printing import said
from gradaudit.commands.workers import apart

if TYPE_CHECKING:
    from gradaudit.audit.result import Audit


@click.command(short_help="Make a report again from the JSON of an audit.")
@click.argument("audit", metavar="AUDIT.JSON", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of the report; - for standard output.  [default: report.html beside AUDIT.JSON]",
)
@click.option(
    "--format",
    "format",
    default="html",
    show_default=True,
    metavar="NAME[=FILE]",
    help="html, json, terminal, markdown, junit or github.",
)
@click.option("--show-host", is_flag=True, help="Keep host name, user name, paths and command line of the JSON.")
def render(audit: Path, output: Path | None, format: str, show_host: bool) -> None:
    """Make a report from AUDIT.JSON, which gradaudit analyze --format json wrote.

    The page has the same bytes as the one that gradaudit analyze wrote.
    """
    from gradaudit.audit.privacy import without_host
    from gradaudit.report import json_file

    (target,) = targets((format,), output, 1)
    read = json_file.read(audit)
    file = target.place(audit.parent)
    text = apart(partial(_drawn, read if show_host else without_host(read), target.format, audit), file)
    if file == STDOUT:
        click.echo(text.encode("utf-8", "backslashreplace"), nl=False)
    else:
        write(file, text, follow=target.path is not None)
        click.echo(said(f"Report: {file} ({size(file)})"))


def _drawn(audit: "Audit", format: str, source: Path, file: Path) -> str:
    from gradaudit.report.json_file import doubted

    with doubted(str(source)):
        return draw(audit, format)
