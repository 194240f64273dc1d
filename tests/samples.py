"""The sample runs and their golden findings; ``python -m tests.samples`` rewrites every findings.txt."""

import functools
from pathlib import Path

import click
import msgspec

from gradaudit.audit.causes import RankedFinding
from gradaudit.audit.result import Audit
from gradaudit.audit.runner import analyze
from gradaudit.reading.run import load
from gradaudit.report import terminal

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
    """What the terminal says about this sample: plain text, 88 columns, without the line that names the report.

    The figures of the laboratory are left out: they change with its runs, not with this one.
    """
    shown = msgspec.structs.replace(audit(sample), ranked=without_base_rates(audit(sample).ranked))
    text = terminal.render(shown, width=88, unicode=True, verbose=False, report=None)
    return click.unstyle(text).rstrip("\n") + "\n"


def without_base_rates(items: list[RankedFinding]) -> list[RankedFinding]:
    """The same findings as of a gradaudit that had no laboratory."""
    return [
        msgspec.structs.replace(item, base_rate=None, consequences=without_base_rates(item.consequences))
        for item in items
    ]


if __name__ == "__main__":
    for sample in recorded():
        (sample / "findings.txt").write_text(findings(sample), encoding="utf-8")
        click.echo(f"wrote sample_runs/{sample.name}/findings.txt")
