"""Where a report goes: which formats, to which files, written whole or not at all."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradaudit.schema import UserError

if TYPE_CHECKING:
    from gradaudit.audit import Audit

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
    chosen = [_target(text) for text in formats or ("terminal", "html")]
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
            where = "standard output" if place == STDOUT else str(place)
            raise UserError(f"two reports would go to {where}; give one of them a file: --format FORMAT=FILE")
    return chosen


def _target(text: str) -> Target:
    name, equals, path = text.partition("=")
    if name not in FORMATS:
        raise UserError(f"--format {text}: no such format; there are {', '.join(FORMATS)}")
    if equals and not path:
        raise UserError(f"--format {text} names no file; write {name}=FILE, or {name}=- for standard output")
    return Target(name, Path(path) if equals else None)


def render(audit: "Audit", format: str, fail_on: str = "never") -> str:
    """The report in this format, as it stands in a file: plain text for the terminal's; `fail_on` as in the options."""
    # Each draws with other libraries, and only the one that is wanted is loaded.
    match format:
        case "html":
            from gradaudit.report import html

            return html.render(audit)
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


def publish(
    audit: "Audit", run: Path, chosen: list[Target], show: Callable[[str], None], fail_on: str = "never"
) -> dict[str, Path]:
    """Write every report that goes to a file; gives the file of each format.

    `show` is told each file before it is drawn. Raises OutputError.
    """
    written = {}
    for target in chosen:
        file = target.place(run)
        if file != STDOUT:
            show(f"drawing {file.name}")
            write(file, render(audit, target.format, fail_on), run)
            written[target.format] = file
    return written


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


def write(path: Path, text: str, run: Path) -> None:
    """Write `text` to `path` under a temporary name, then rename it.

    Raises OutputError when it cannot be written, or when `path` is part of the recording in `run`;
    what stood there before is then unchanged.
    """
    data = text.encode("utf-8", "backslashreplace")
    real = path.resolve()
    inside = real.relative_to(run.resolve()).parts if real.is_relative_to(run.resolve()) else ()
    if inside and (inside[0] in ("run.json", "launch.json") or re.fullmatch(r"rank\d+", inside[0])):
        raise OutputError(f"cannot write {path}: it is part of the recording")
    temporary = real.with_name(f".{real.name}.{os.getpid()}.tmp")
    try:
        if real.exists() and not real.is_file():
            # A folder (refused by the system) or a device such as /dev/null (must not be replaced).
            real.write_bytes(data)
            return
        try:
            temporary.write_bytes(data)
            temporary.replace(real)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None


def size(file: Path) -> str:
    """The size of a file for people."""
    count = file.stat().st_size
    return f"{count / 1000:.0f} KB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"
