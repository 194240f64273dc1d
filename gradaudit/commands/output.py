"""Where a report goes: which formats, to which files, written whole or not at all."""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradaudit.commands.place import PlaceError, settled
from gradaudit.commands.workers import apart
from gradaudit.schema import UserError

if TYPE_CHECKING:
    from gradaudit.audit.result import Audit

WIDEST = 88  # columns of the terminal report; longer lines are hard to read
# And where each goes by default.
FORMATS = {
    "html": "report.html",
    "json": "audit.json",
    "terminal": "-",
    "markdown": "report.md",
    "junit": "junit.xml",
    "github": "-",
}
STDOUT = Path("-")
LOG = ("terminal", "github")  # what may stand on standard output together: GitHub finds its commands between the lines


class OutputError(UserError):
    """A report that cannot be written; the message says where and why."""


@dataclass(frozen=True)
class Target:
    """One report to make: its format, and its file (`STDOUT` for standard output, None for the default)."""

    format: str
    path: Path | None = None

    def place(self, run: Path) -> Path:
        """The file to write for the run in this folder, or `STDOUT`."""
        if self.path is not None:
            return self.path
        return STDOUT if FORMATS[self.format] == "-" else run / FORMATS[self.format]


def targets(formats: tuple[str, ...], output: Path | None, runs: int) -> list[Target]:
    """Read ``--format`` and ``-o``.

    Raises UserError for an unknown format, for two reports in one place, and for an `output` that
    is needed by no format or by several.
    """
    chosen = [target_of(text) for text in formats or ("terminal", "html")]
    if output is not None:
        open_ends = [item for item in chosen if item.path is None and (item.format not in LOG or len(chosen) == 1)]
        if len(open_ends) != 1:
            raise UserError("-o names one file; with several formats give each its own: --format json=FILE")
        chosen[chosen.index(open_ends[0])] = replace(open_ends[0], path=output)
    named = [item.path for item in chosen if item.path not in (None, STDOUT)]
    if named and runs > 1:
        raise UserError(f"{named[0]} is one file and there are {runs} runs; analyze them one at a time")
    places = [item.place(Path()) for item in chosen]
    for place in places:
        sharing = [item.format for item, at in zip(chosen, places, strict=True) if at == place]
        together = place == STDOUT and set(sharing) <= set(LOG) and len(set(sharing)) == len(sharing)
        if len(sharing) > 1 and not together:
            raise shared_place(place)
    return chosen


def target_of(text: str, formats: Collection[str] = FORMATS.keys()) -> Target:
    """Read one ``--format``: a format, or FORMAT=FILE. Raises UserError."""
    name, equals, path = text.partition("=")
    if name not in formats:
        raise UserError(f"--format {text}: no such format; there are {', '.join(formats)}")
    if equals and not path:
        raise UserError(f"--format {text} names no file; write {name}=FILE, or {name}=- for standard output")
    return Target(name, Path(path) if equals else None)


def shared_place(place: Path) -> UserError:
    """The complaint that two reports have one place."""
    where = "standard output" if place == STDOUT else str(place)
    return UserError(f"two reports would go to {where}; give one of them a file: --format FORMAT=FILE")


def render(audit: "Audit", format: str, fail_on: str = "never") -> str:
    """The report in this format, as it stands in a file: plain text for the terminal's; `fail_on` as in the options."""
    # Each draws with other libraries, and only the one that is wanted is loaded.
    match format:
        case "html":
            from gradaudit.report.html import report_page

            return report_page.render(audit)
        case "json":
            from gradaudit.report import json_file

            return json_file.render(audit)
        case "markdown":
            from gradaudit.report import markdown

            return markdown.render(audit)
        case "junit":
            from gradaudit.report import junit

            return junit.render(audit, fail_on)
        case "github":
            from gradaudit.report import github

            return github.render(audit)
        case _:
            from gradaudit.report import terminal

            return click.unstyle(terminal.render(audit, width=WIDEST, unicode=True, verbose=True, report=None))


def heavy(target: Target) -> bool:
    """Whether to make this report after the others: the chart engine takes most of the memory, and may fail."""
    return target.format == "html"


def publish(
    audit: "Audit", run: Path, chosen: list[Target], show: Callable[[str], None], fail_on: str = "never"
) -> Iterator[tuple[str, Path]]:
    """Write every report that goes to a file, heavy ones last; gives the format and the file of each.

    `show` is told each file before it is drawn. Raises OutputError.
    """
    for target in sorted(chosen, key=heavy):
        file = target.place(run)
        if file != STDOUT:
            show(f"drawing {file.name}")
            drawn = partial(_drawn, audit, target.format, fail_on)
            text = apart(drawn, file) if heavy(target) else drawn(file)
            write(file, text, run, follow=target.path is not None)
            yield target.format, file


def _drawn(audit: "Audit", format: str, fail_on: str, file: Path) -> str:
    return render(audit, format, fail_on)


def summarise(text: str) -> None:
    """Add Markdown to the summary of the GitHub job, where there is one. Raises OutputError."""
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return
    try:
        with Path(place).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise OutputError(f"cannot write {place}: {(error.strerror or str(error)).lower()}") from None


def write(path: Path, text: str, *runs: Path, follow: bool = True) -> None:
    """Write `text` to `path` under a temporary name, then rename it; `runs` and `follow` are as in `settled`.

    Raises OutputError when it cannot be written, or when `path` is part of a recording; what stood there before is
    then unchanged.
    """
    try:
        place = settled(path, runs, follow=follow)
        if place.recorded:
            raise OutputError(f"cannot write {path}: it is part of the recording")
        place.write(text.encode("utf-8", "backslashreplace"))
    except PlaceError as error:
        raise OutputError(f"cannot write {path}: {error}") from None
    except OSError as error:
        raise OutputError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None


def size(file: Path) -> str:
    """The size of a file for people."""
    count = file.stat().st_size
    return f"{count / 1000:.0f} KB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"
