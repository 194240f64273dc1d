"""What is done for one run: read, examine, write its reports; and the page over several runs."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gradaudit.commands.output import Target, publish, write
from gradaudit.commands.settings import Settings
from gradaudit.commands.workers import Done, attempt

if TYPE_CHECKING:
    from gradaudit.audit import Audit


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for every run; it travels to other processes."""

    select: Sequence[str]
    ignore: Sequence[str]
    thresholds: dict[str, float]
    show_host: bool
    fail_on: str
    chosen: list[Target]
    expected_frozen: Sequence[str]

    @classmethod
    def of(cls, settings: Settings, show_host: bool, fail_on: str, chosen: list[Target]) -> "Wishes":
        """The wishes behind settings that hold."""
        return cls(
            settings.select, settings.ignore, settings.thresholds, show_host, fail_on, chosen,
            settings.config.expected_frozen,
        )  # fmt: skip


@dataclass(frozen=True)
class Analyzed:
    """The audit of a run, and what became of writing its reports."""

    audit: "Audit"
    reports: Done[dict[str, Path]]


def examined(path: Path, wishes: Wishes, show: Callable[[str], None] = lambda what: None) -> "Audit":
    """The audit of the run in `path`. Raises UserError."""
    from gradaudit.audit import analyze
    from gradaudit.run import load

    return analyze(
        load(path),
        select=wishes.select,
        ignore=wishes.ignore,
        thresholds=wishes.thresholds,
        show_host=wishes.show_host,
        expected_frozen=wishes.expected_frozen,
        progress=show,
    )


def analyzed(wishes: Wishes, path: Path) -> Analyzed:
    """Examine a run and write its reports; findings are kept when a report cannot be written. Raises UserError."""
    audit = examined(path, wishes)
    return Analyzed(audit, attempt(lambda: publish(audit, path, wishes.chosen, lambda what: None, wishes.fail_on)))


def reaches(audit: "Audit", fail_on: str) -> bool:
    """Whether a finding is at least as severe as `fail_on`."""
    from gradaudit.findings import Severity

    return fail_on != "never" and any(
        item.finding.severity.rank <= Severity(fail_on).rank for item in audit.all_ranked()
    )


def write_index(
    file: Path,
    audited: Sequence[tuple[Path, Path, "Audit"]],
    unread: Sequence[tuple[Path, str]],
    show_host: bool,
) -> Path:
    """Write the page over runs: (run, report, audit) of each, and (run, complaint) of those that could not be read.

    Gives `file`. Raises OutputError.
    """
    from gradaudit.audit import without_folders
    from gradaudit.report import index

    beside = file.resolve().parent
    rows = [
        index.Audited(run.name, PurePosixPath(Path(os.path.relpath(report.resolve(), beside)).as_posix()), audit)
        for run, report, audit in audited
    ]
    reasons = []
    for run, complaint in unread:
        reason = complaint.strip().rpartition("\n")[2].removeprefix("gradaudit: ")
        reasons.append((run.name, reason if show_host else without_folders(reason)))
    write(file, index.render(rows, reasons), beside)
    return file
