"""`gradaudit analyze`: run every diagnoser over recorded runs and write the reports."""

import math
import os
import shutil
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradaudit.commands.errors import COULD_NOT, one_line
from gradaudit.commands.output import LOG, STDOUT, WIDEST, Target, publish, render, size, targets
from gradaudit.commands.progress import progress
from gradaudit.schema import UserError

if TYPE_CHECKING:
    from gradaudit.audit import Audit

RUNS = Path("runs")
FOUND = 1


@click.command(short_help="Find out what is wrong with a recorded run.")
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of the report.  [default: RUN/report.html]",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME[=FILE]",
    help="html, json, terminal, markdown, junit or github; FILE may be - for standard output. Repeatable.  "
    "[default: terminal and html]",
)
@click.option("--open", "open_report", is_flag=True, help="Open the HTML report in the browser.")
@click.option("--select", multiple=True, metavar="NAME", help="Run only this diagnoser. Repeatable.")
@click.option("--ignore", multiple=True, metavar="NAME", help="Do not run this diagnoser. Repeatable.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME.THRESHOLD=VALUE",
    help="Change a threshold; see gradaudit explain NAME. Repeatable.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["critical", "warning", "note", "never"]),
    default="never",
    show_default=True,
    help="Exit with 1 when a finding is at least this severe.",
)
@click.option("--show-host", is_flag=True, help="Put host name, user name, paths and command line into the report.")
@click.option("-v", "--verbose", is_flag=True, help="List the checks that passed or could not look, too.")
@click.option("-q", "--quiet", is_flag=True, help="Print the verdict only.")
def analyze(
    runs: tuple[Path, ...],
    output: Path | None,
    formats: tuple[str, ...],
    open_report: bool,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    settings: tuple[str, ...],
    fail_on: str,
    show_host: bool,
    verbose: bool,
    quiet: bool,
) -> None:
    """Run every diagnoser over each recorded RUN, print the findings and write RUN/report.html.

    Without RUN, the newest run under runs/ is analyzed.

    Exit codes: 0 done, 1 findings at or above --fail-on, 2 a run could not be audited or a report not written.
    """
    from gradaudit.audit import analyze as examine
    from gradaudit.audit import choose
    from gradaudit.run import load

    chosen = targets(formats, output, len(runs))
    thresholds = dict(_setting(text) for text in settings)
    if open_report and not any(item.format == "html" and item.path != STDOUT for item in chosen):
        raise UserError("--open needs an HTML report in a file; add --format html")
    # What is wrong with the command line is said once, before any run is read.
    choose(select, ignore, thresholds)
    code = 0
    for number, path in enumerate(runs or (newest_run(RUNS),)):
        if number and not quiet:
            click.echo()
        try:
            with one_line(), progress(str(path)) as show:
                show("reading")
                run = load(path)
                audit = examine(
                    run, select=select, ignore=ignore, thresholds=thresholds, show_host=show_host, progress=show
                )
                show("")
                _print(audit, path, chosen, fail_on=fail_on, verbose=verbose, quiet=quiet, named=len(runs) > 1)
                if fail_on != "never" and _reaches(audit, fail_on):
                    code = max(code, FOUND)
                written = publish(audit, path, chosen, show, fail_on)
        except SystemExit as stop:
            if stop.code != COULD_NOT:
                raise
            code = COULD_NOT
            continue
        if not quiet:
            for file in written.values():
                click.echo(f"Report: {file} ({size(file)})", err=not _talks(path, chosen))
        if open_report:
            webbrowser.open(written["html"].resolve().as_uri())
    sys.exit(code)


def newest_run(folder: Path) -> Path:
    """The run in `folder` that was written last; raises UserError when there is none."""
    found = {
        file.stat().st_mtime: file.parent for name in ("launch.json", "run.json") for file in folder.glob(f"*/{name}")
    }
    if not found:
        raise UserError(f"no run under {folder}/; make one with gradaudit record train.py, or name one")
    return found[max(found)]


def _setting(text: str) -> tuple[str, float]:
    """Split NAME.THRESHOLD=VALUE; raises UserError."""
    key, equals, value = text.partition("=")
    name, dot, option = key.partition(".")
    if not (equals and dot and name and option):
        raise UserError(f"--set {text}: write NAME.THRESHOLD=VALUE, such as overfitting.gap=0.2")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"--set {text}: {value!r} is not a finite number")
    return key, number


def _print(
    audit: "Audit", run: Path, chosen: list[Target], *, fail_on: str, verbose: bool, quiet: bool, named: bool
) -> None:
    """Print what goes to standard output; `named` puts the run before a verdict that stands alone."""
    formats = [target.format for target in chosen if target.place(run) == STDOUT]
    if quiet and _talks(run, chosen):
        from gradaudit.audit import verdict
        from gradaudit.report.text import sentence

        click.echo(f"{run}: {sentence(verdict(audit))}" if named else sentence(verdict(audit)))
        formats = [format for format in formats if format != "terminal"]
    for format in formats:
        if format == "terminal":
            from gradaudit.report import terminal

            width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
            unicode = "utf" in (sys.stdout.encoding or "").lower()
            text = terminal.render(audit, width=width, unicode=unicode, verbose=verbose, report=None)
            click.echo(text.rstrip("\n"), color=False if os.environ.get("NO_COLOR") else None)
        else:
            click.echo(render(audit, format, fail_on).encode("utf-8", "backslashreplace"), nl=False)


def _talks(run: Path, chosen: list[Target]) -> bool:
    """Whether standard output is for people: nothing that a machine reads whole goes there."""
    return all(target.format in LOG or target.place(run) != STDOUT for target in chosen)


def _reaches(audit: "Audit", fail_on: str) -> bool:
    """Whether a finding is at least as severe as `fail_on`."""
    from gradaudit.findings import Severity

    return any(item.finding.severity.rank <= Severity(fail_on).rank for item in audit.all_ranked())
