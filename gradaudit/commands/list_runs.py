"""`gradaudit list`: the runs of a folder, newest first, with their state and their main finding."""

import shutil
import sys
from functools import partial
from pathlib import Path

import click

from gradaudit.commands.errors import COULD_NOT
from gradaudit.commands.folder import RUNS, runs_in
from gradaudit.commands.progress import progress
from gradaudit.commands.settings import effective
from gradaudit.commands.work import AnalysisOptions, audit_run
from gradaudit.commands.workers import each
from gradaudit.schema import UserError


@click.command("list", short_help="List recorded runs, newest first.")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("-n", "--most", type=click.IntRange(min=1), metavar="N", help="List only the N newest runs.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each run, a line each.")
def list_runs(folder: Path | None, most: int | None, as_json: bool) -> None:
    """List the runs in FOLDER (default: runs/), newest first, each with its state and its main finding.

    Every run is analyzed for this, on all cores. Spikes are the share of the losses, and of the gradient norms,
    7 standard deviations or more above the mean of the 1,000 before. Exit codes: 0 done, 2 a run could not be
    read.
    """
    from gradaudit.report import listing

    folder = folder or RUNS
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name the folder that holds the runs")
    paths = runs_in(folder)[:most]
    if not paths:
        raise UserError(f"no run under {folder}/; make one with gradaudit record train.py")
    settings = effective()
    wishes = AnalysisOptions.of(settings, False, "never", [])
    with progress(str(folder)) as show:
        done = list(each(paths, partial(audit_run, wishes=wishes), show))
    rows = [
        listing.row(path.name, one.value) if one.value else listing.unreadable(path.name, one.complaint)
        for path, one in zip(paths, done, strict=True)
    ]
    # A copied run keeps its start, and the files of a copy are new; what could not be read comes last.
    rows.sort(key=lambda row: row.started or "", reverse=True)
    if as_json:
        click.echo("\n".join(map(listing.as_json, rows)))
        sys.exit(COULD_NOT if any(one.code for one in done) else 0)
    width = shutil.get_terminal_size((120, 24)).columns
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    click.echo(listing.render(rows, width=width, unicode=unicode))
    sys.exit(COULD_NOT if any(one.code for one in done) else 0)
