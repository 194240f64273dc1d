"""`gradaudit analyze`: run every diagnoser over recorded runs and write the reports."""

import sys
import webbrowser
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import click

from gradaudit.commands.completion import diagnosers
from gradaudit.commands.errors import COULD_NOT, attempt
from gradaudit.commands.folder import RUNS, common_folder, newest_run
from gradaudit.commands.output import STDOUT, publish, targets
from gradaudit.commands.printing import Printing
from gradaudit.commands.progress import progress
from gradaudit.commands.settings import effective, shown
from gradaudit.commands.work import AnalysisOptions, analyzed, audit_run, reaches, write_index
from gradaudit.commands.workers import each
from gradaudit.schema import UserError

FOUND = 1
INDEX = "audits.html"


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
@click.option(
    "--index",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of the page over several runs.  [default: audits.html beside the runs]",
)
@click.option("--open", "open_report", is_flag=True, help="Open the HTML report in the browser.")
@click.option(
    "--select", multiple=True, metavar="NAME", help="Run only this diagnoser. Repeatable.", shell_complete=diagnosers
)
@click.option(
    "--ignore", multiple=True, metavar="NAME", help="Do not run this diagnoser. Repeatable.", shell_complete=diagnosers
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME.THRESHOLD=VALUE",
    help="Change a threshold; see gradaudit explain NAME. Repeatable.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["critical", "warning", "note", "never"]),
    help="Exit with 1 when a finding is at least this severe.  [default: never]",
)
@click.option("--show-config", is_flag=True, help="Print the settings that hold, and where from, and do nothing else.")
@click.option("--show-host", is_flag=True, help="Put host name, user name, paths and command line into the report.")
@click.option("-v", "--verbose", is_flag=True, help="List the checks that passed or were skipped, too.")
@click.option("-q", "--quiet", is_flag=True, help="Print the verdict only.")
def analyze(
    runs: tuple[Path, ...],
    output: Path | None,
    formats: tuple[str, ...],
    index: Path | None,
    open_report: bool,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    assignments: tuple[str, ...],
    fail_on: str | None,
    show_config: bool,
    show_host: bool,
    verbose: bool,
    quiet: bool,
) -> None:
    """Run every diagnoser over each recorded RUN, print the findings and write RUN/report.html.

    Without RUN, the newest run under runs/ is analyzed. Several are analyzed on all cores, and audits.html beside
    them shows them all.

    Options replace what [tool.gradaudit] in the nearest pyproject.toml says.

    Exit codes: 0 done, 1 findings at or above --fail-on, 2 a run could not be audited or a report not written.
    """
    settings = effective(select, ignore, assignments, fail_on)
    if show_config:
        click.echo("\n".join(shown(settings)))
        return
    # runs/* names the page over them, too, once it is there.
    runs = tuple(run for run in runs if run.name != INDEX or not run.is_file())
    chosen = targets(formats, output, len(runs))
    if open_report and not any(item.format == "html" and item.path != STDOUT for item in chosen):
        raise UserError("--open needs an HTML report in a file; add --format html")
    wishes = AnalysisOptions.of(settings, show_host, settings.fail_on, chosen)
    printing = Printing(chosen, settings.fail_on, verbose=verbose, quiet=quiet, named=len(runs) > 1)
    if len(runs) > 1:
        code, page = analyze_several(runs, wishes, printing, index)
    else:
        code, page = analyze_one(runs[0] if runs else newest_run(RUNS), wishes, printing)
    if open_report and page:
        webbrowser.open(page.resolve().as_uri())
    sys.exit(code)


def analyze_one(path: Path, wishes: AnalysisOptions, printing: Printing) -> tuple[int, Path | None]:
    """Analyze one run in this process; gives the exit code and the page. Raises UserError."""
    written: dict[str, Path] = {}
    try:
        with progress(str(path)) as show:
            show("reading")
            audit = audit_run(path, wishes, show)
            show("")
            printing.findings(path, audit)
            for format, file in publish(audit, path, wishes.chosen, show, wishes.fail_on):
                written[format] = file
        printing.summary_of_the_job(audit)
    finally:
        printing.places(path, written)
    return FOUND if reaches(audit, wishes.fail_on) else 0, written.get("html")


def analyze_several(
    paths: Sequence[Path], wishes: AnalysisOptions, printing: Printing, index: Path | None
) -> tuple[int, Path | None]:
    """Analyze runs on all cores, print them in order and write the page over them; gives exit code and page."""
    code, audited, unread, audits = 0, [], [], []
    with progress("analyzing") as show, closing(each(paths, partial(analyzed, wishes), show)) as results:
        for number, (path, done) in enumerate(zip(paths, results, strict=True)):
            printing.gap(number)
            if done.value is None:
                click.echo(done.complaint, nl=False, err=True)
                code = COULD_NOT
                unread.append((path, done.complaint))
                continue
            audit, reports = done.value.audit, done.value.reports
            audits.append(audit)
            printing.findings(path, audit)
            printing.summary_of_the_job(audit)
            click.echo(reports.complaint, nl=False, err=True)
            written = reports.value or {}
            printing.places(path, written)
            code = max(code, reports.code, FOUND if reaches(audit, wishes.fail_on) else 0)
            if "html" in written:
                audited.append((path, written["html"], audit))
    printing.annotations(audits)
    page = None
    if audited:
        place = index or common_folder(paths) / INDEX
        made = attempt(lambda: write_index(place, index is not None, audited, unread, wishes.show_host))
        click.echo(made.complaint, nl=False, err=True)
        code, page = max(code, made.code), made.value
        if page:
            printing.index(page)
    return code, page
