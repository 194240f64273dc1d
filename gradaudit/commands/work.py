"""What is done for one run: read, examine, write its reports; and the page over several runs."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gradaudit.commands.errors import COULD_NOT, Done, attempt, out_of_memory
from gradaudit.commands.output import OutputError, Target, heavy, publish, write
from gradaudit.commands.place import settled
from gradaudit.commands.settings import Settings
from gradaudit.schema import UserError

if TYPE_CHECKING:
    from gradaudit.audit.result import Audit


@dataclass(frozen=True)
class AnalysisOptions:
    """What the command line asks for every run; it travels to other processes."""

    select: Sequence[str]
    ignore: Sequence[str]
    thresholds: dict[str, float]
    show_host: bool
    fail_on: str
    chosen: list[Target]
    expected_frozen: Sequence[str]

    @classmethod
    def of(cls, settings: Settings, show_host: bool, fail_on: str, chosen: list[Target]) -> "AnalysisOptions":
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


def audit_run(path: Path, wishes: AnalysisOptions, show: Callable[[str], None] = lambda what: None) -> "Audit":
    """The audit of the run in `path`. Raises UserError."""
    from gradaudit.audit.runner import analyze
    from gradaudit.reading.run import load

    try:
        return analyze(
            load(path),
            select=wishes.select,
            ignore=wishes.ignore,
            thresholds=wishes.thresholds,
            show_host=wishes.show_host,
            expected_frozen=wishes.expected_frozen,
            progress=show,
        )
    except Exception as error:
        if out_of_memory(error):
            raise UserError(f"{path}: there is not enough memory to analyze it here") from None
        raise


def analyzed(wishes: AnalysisOptions, path: Path) -> Iterator[Analyzed]:
    """Examine a run and write its reports; findings are kept when a report cannot be written. Raises UserError.

    Before the heavy ones, it gives what stands if their drawing takes this process down.
    """
    audit = audit_run(path, wishes)
    written: dict[str, Path] = {}

    def make(chosen: list[Target]) -> None:
        for format, file in publish(audit, path, chosen, lambda what: None, wishes.fail_on):
            written[format] = file

    light, rest = ([item for item in wishes.chosen if heavy(item) is kind] for kind in (False, True))
    first = attempt(lambda: make(light))
    if rest and not first.code:
        died = f"gradaudit: {path}: the process that drew its page was killed or crashed (out of memory?)\n"
        yield Analyzed(audit, Done(dict(written), died, COULD_NOT))
        first = attempt(lambda: make(rest))
    yield Analyzed(audit, Done(written, first.complaint, first.code))


def reaches(audit: "Audit", fail_on: str) -> bool:
    """Whether a finding is at least as severe as `fail_on`."""
    from gradaudit.findings import Severity

    return fail_on != "never" and any(
        item.finding.severity.rank <= Severity(fail_on).rank for item in audit.all_ranked()
    )


def write_index(
    file: Path,
    named: bool,
    audited: Sequence[tuple[Path, Path, "Audit"]],
    unread: Sequence[tuple[Path, str]],
    show_host: bool,
) -> Path:
    """Write the page over runs: (run, report, audit) of each, and (run, complaint) of those that could not be read.

    Gives `file`; `named` says that it is the user who calls it so. Raises OutputError.
    """
    from gradaudit.audit.privacy import without_folders
    from gradaudit.report.html import index

    runs = [run for run, *_ in audited]
    try:
        beside = settled(file, runs, follow=named).file.parent
    except (UserError, OSError) as error:
        raise OutputError(f"cannot write {file}: {error}") from None
    rows = [
        index.Audited(run.name, PurePosixPath(Path(os.path.relpath(report.resolve(), beside)).as_posix()), audit)
        for run, report, audit in audited
    ]
    reasons = []
    for run, complaint in unread:
        reason = complaint.strip().rpartition("\n")[2].removeprefix("gradaudit: ")
        reasons.append((run.name, reason if show_host else without_folders(reason)))
    write(file, index.render(rows, reasons), *runs, follow=named)
    return file
