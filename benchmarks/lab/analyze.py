"""Gives every recorded run to every diagnoser, whole and cut short, and keeps what came of it as JSON."""

import hashlib
import json
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click

from benchmarks.lab import record
from benchmarks.lab.configuration import HALVES
from benchmarks.lab.cut import cut
from benchmarks.lab.experiments import chosen
from gradaudit.audit.causes import RankedFinding
from gradaudit.audit.runner import examine, rank
from gradaudit.diagnosers import all_diagnosers
from gradaudit.reading.run import Run, RunError, load

CUTS = (20, 50, 100, 200)  # steps; beside the whole run
WHOLE = "whole"
# What a held-out verdict may depend on; committed before any rule looks at a held-out run.
DEFINITIONS = (
    "configuration.py",
    "healthy.py",
    "faulty.py",
    "faulty.txt",
    "faults_*.py",
    "edits.py",
    "scripts",
    "pretraining",
)


class NotCommittedError(click.ClickException):
    """What is held out must not be looked at yet."""


def outcomes_of(run: Run) -> dict[str, Any]:
    """What every diagnoser came to: its status, findings and CPU seconds, and the findings as the report ranks them."""
    diagnosers, outcomes, seconds = all_diagnosers(), [], {}
    for diagnoser in diagnosers:
        began = time.process_time()
        outcomes.append(examine(diagnoser, run))
        seconds[diagnoser.name] = round(time.process_time() - began, 4)
    ranked = rank(outcomes, {diagnoser.name: diagnoser.explains for diagnoser in diagnosers})
    return {
        "faces": {outcome.diagnoser: outcome.status for outcome in outcomes},
        "why": {outcome.diagnoser: outcome.result.text for outcome in outcomes},
        "findings": {
            outcome.diagnoser: [
                {"severity": item.severity, "first": item.span.first, "last": item.span.last, "headline": item.headline}
                for item in outcome.findings
            ]
            for outcome in outcomes
            if outcome.findings
        },
        "ranked": [_names(item) for item in ranked],
        "seconds": seconds,
    }


def _names(item: RankedFinding) -> list[Any]:
    """[diagnoser, severity, consequences] of one finding in the report."""
    return [item.diagnoser, item.finding.severity, [_names(child) for child in item.consequences]]


def analyze(folder: Path, analysis: str) -> str:
    """Analyze the run in `folder` and write outcomes.json; returns the folder's trouble, or nothing."""
    try:
        run = load(folder / "run")
    except RunError as error:
        return f"{folder.parent.name} {folder.name}: {error}"
    found = {WHOLE: outcomes_of(run)}
    for count in CUTS:
        short = cut(run, count)
        if short is not run:
            found[str(count)] = outcomes_of(short)
    kept = {"key": f"{record.recording(folder)}-{analysis}", "steps": len(run.steps), "outcomes": found}
    (folder / "outcomes.json").write_text(json.dumps(kept))
    return ""


def is_analyzed(folder: Path, analysis: str) -> bool:
    """Whether outcomes.json belongs to this recording and to these diagnosers."""
    try:
        kept = json.loads((folder / "outcomes.json").read_text())["key"]
        return bool(kept == f"{record.recording(folder)}-{analysis}")
    except FileNotFoundError:
        return False


def analysis_key() -> str:
    """Changes with the diagnosers, with what they share, and with how the laboratory asks them."""
    own = b"".join((Path(__file__).parent / name).read_bytes() for name in ("analyze.py", "cut.py"))
    rooms = ("reading", "signals", "evidence", "diagnosers", "audit")
    return record.sources_of("*.py", *(f"{room}/**/*.py" for room in rooms)) + hashlib.sha256(own).hexdigest()[:4]


def definitions_commit() -> str:
    """The commit that holds the definitions; raises NotCommittedError while they differ from it."""
    places = [str(Path(__file__).parent / name) for name in DEFINITIONS]
    changed = _git("status", "--porcelain", "--", *places)
    if changed:
        raise NotCommittedError(f"commit the definitions before a diagnoser looks at a held-out run:\n{changed}")
    return _git("log", "-1", "--format=%h", "--", *places)


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=record.ROOT, capture_output=True, text=True, check=True).stdout.strip()


@click.command()
@click.option("--half", type=click.Choice([*HALVES, "all"]), default="development", show_default=True)
@click.option("--kind", type=click.Choice(["healthy", "faulty", "all"]), default="all", show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True)
@click.argument("names", nargs=-1)
def main(half: str, kind: str, jobs: int, names: tuple[str, ...]) -> None:
    """Analyze the recorded runs of the trainings called NAMES, or of all."""
    experiments = chosen(half, kind, names)
    if any(item.half != "development" for item in experiments):
        click.echo(f"the definitions are those of commit {definitions_commit()}")
    analysis = analysis_key()
    folders = [
        folder
        for item in experiments
        for folder in sorted((record.LAB / "runs" / item.name).glob("seed*"))
        if record.is_recorded(item, int(folder.name.removeprefix("seed")))
    ]
    wanted = [folder for folder in folders if not is_analyzed(folder, analysis)]
    click.echo(f"{len(wanted)} of {len(folders)} runs to analyze")
    with ProcessPoolExecutor(jobs) as pool:
        for done, trouble in enumerate(pool.map(analyze, wanted, [analysis] * len(wanted)), 1):
            if trouble:
                click.echo(f"not analyzed: {trouble}")
            if done % 25 == 0:
                click.echo(f"[{done:4d}/{len(wanted)}]")


if __name__ == "__main__":
    main()
