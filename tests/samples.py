"""The sample runs and their golden findings; ``python -m tests.samples`` rewrites every findings.txt."""

import functools
from pathlib import Path

import click

from gradaudit.audit import Audit, analyze
from gradaudit.report import terminal
from gradaudit.run import load

FOLDER = Path(__file__).parents[1] / "sample_runs"
REWRITE = "make goldens"
RECORD = "make samples"


def recorded() -> list[Path]:
    """The folders of `sample_runs` that hold a recorded run."""
    return sorted(file.parents[1] for file in FOLDER.glob("*/run/run.json"))


@functools.cache
def audit(sample: Path) -> Audit:
    """What the analysis of this sample run found."""
    return analyze(load(sample / "run"))


def findings(sample: Path) -> str:
    """What the terminal says about this sample: plain text, 88 columns, without the line that names the report."""
    return (
        click.unstyle(terminal.render(audit(sample), width=88, unicode=True, verbose=False, report=None)).rstrip("\n")
        + "\n"
    )


if __name__ == "__main__":
    for sample in recorded():
        (sample / "findings.txt").write_text(findings(sample), encoding="utf-8")
        click.echo(f"wrote sample_runs/{sample.name}/findings.txt")
