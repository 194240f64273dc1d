"""`gradaudit compare`: what changed from one run to another."""

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradaudit.commands.analyze import FOUND, INDEX
from gradaudit.commands.errors import COULD_NOT
from gradaudit.commands.output import STDOUT, WIDEST, shared_place, size, target_of, write
from gradaudit.commands.printing import said
from gradaudit.commands.progress import progress
from gradaudit.commands.settings import effective
from gradaudit.commands.work import AnalysisOptions, audit_run
from gradaudit.commands.workers import apart, each
from gradaudit.schema import UserError

if TYPE_CHECKING:
    from gradaudit.audit.compare import Comparison
    from gradaudit.audit.result import Audit

FORMATS = ("html", "json", "terminal")


@click.command(short_help="Say what changed from one run to another.")
@click.argument("runs", nargs=-1, metavar="A B [C]...", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of the page.  [default: B/compare.html]",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME[=FILE]",
    help="html, json or terminal; FILE may be - for standard output. Repeatable.  [default: terminal and html]",
)
@click.option(
    "--fail-on",
    type=click.Choice(["new-critical", "new-warning", "new-note", "never"]),
    default="never",
    show_default=True,
    help="Exit with 1 when a run has a finding at least this severe that is not known to be in A: new, worse, or not "
    "checked in A.",
)
@click.option("--show-host", is_flag=True, help="Compare host name, paths and command line, too.")
def compare(
    runs: tuple[Path, ...], output: Path | None, formats: tuple[str, ...], fail_on: str, show_host: bool
) -> None:
    """Say what changed from run A to run B, and to every other run: settings, losses, findings, layers.

    A run is a folder, or the JSON of an audit that gradaudit analyze --format json wrote.

    Exit codes: 0 done, 1 a new finding at or above --fail-on, 2 a run could not be read or the page not written.
    """
    from gradaudit.audit.compare import compare as side_by_side
    from gradaudit.findings import Severity

    # runs/* names the page over them, too.
    runs = tuple(run for run in runs if run.name != INDEX or not run.is_file())
    if len(runs) < 2:
        raise UserError("name two runs or more: gradaudit compare runs/a runs/b")
    places = _places(formats, output, runs[1])
    settings = effective()
    wishes = AnalysisOptions.of(settings, show_host, "never", [])
    with progress("comparing") as show:
        done = list(each(runs, partial(read, wishes), show))
    audits = [one.value for one in done if one.value is not None]
    if len(audits) < len(runs):
        click.echo("".join(one.complaint for one in done), nl=False, err=True)
        sys.exit(COULD_NOT)
    from gradaudit.report.json_file import doubted

    files = " or ".join(str(run) for run in runs if run.is_file())
    with doubted(files):
        comparison = side_by_side(audits)
    named = {text.partition("=")[0] for text in formats if "=" in text} | ({"html"} if output else set())
    # The page comes last, as in `publish`.
    for format, file in sorted(places.items(), key=lambda item: item[0] == "html"):
        text = apart(partial(_drawn, comparison, format, file != STDOUT, files), file)
        if file != STDOUT:
            write(file, text, *(run for run in runs if run.is_dir()), follow=format in named)
            machine = STDOUT in places.values() and "terminal" not in places
            click.echo(said(f"Comparison: {file} ({size(file)})"), err=machine)
        else:
            click.echo(text, nl=False)
    if fail_on != "never" and comparison.reaches(severity := Severity(fail_on.removeprefix("new-"))):
        for label, one in comparison.reaching(severity):
            if one.status == "unchecked_before":
                click.echo(said(f"{label}: {one.diagnoser} counts for --fail-on. {one.remark}"), err=True)
        sys.exit(FOUND)


def read(wishes: AnalysisOptions, path: Path) -> "Audit":
    """The audit of a run, or the one in a JSON file. Raises UserError."""
    if not path.is_file():
        return audit_run(path, wishes)
    from gradaudit.audit.privacy import without_host
    from gradaudit.report import json_file

    audit = json_file.read(path)
    return audit if wishes.show_host else without_host(audit)


def render(comparison: "Comparison", format: str, *, plain: bool) -> str:
    """The comparison in this format; `plain` leaves out what only a terminal shows."""
    match format:
        case "html":
            from gradaudit.report.html import compare_page

            return compare_page.render(comparison)
        case "json":
            import msgspec

            return msgspec.json.encode(comparison).decode() + "\n"
        case _:
            from gradaudit.report import compare_terminal

            width = WIDEST if plain else min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
            unicode = plain or "utf" in (sys.stdout.encoding or "").lower()
            text = compare_terminal.render(comparison, width=width, unicode=unicode)
            return click.unstyle(text) if plain else text


def _places(formats: tuple[str, ...], output: Path | None, run: Path) -> dict[str, Path]:
    """Each format and its file. Raises UserError."""
    beside = run if run.is_dir() else run.parent
    default = {"html": output or beside / "compare.html", "json": beside / "compare.json", "terminal": STDOUT}
    places: dict[str, Path] = {}
    for text in formats or ("terminal", "html"):
        chosen = target_of(text, FORMATS)
        if chosen.format in places:
            raise UserError(f"--format {chosen.format} is given twice")
        places[chosen.format] = chosen.path or default[chosen.format]
        if list(places.values()).count(places[chosen.format]) > 1:
            raise shared_place(places[chosen.format])
    if output is not None and places.get("html") != output:
        raise UserError("-o names the file of the page, which is not asked for; add --format html")
    return places


def _drawn(comparison: "Comparison", format: str, plain: bool, files: str, file: Path) -> str:
    from gradaudit.report.json_file import doubted

    with doubted(files):
        return render(comparison, format, plain=plain)
