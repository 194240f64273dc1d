"""What `gradaudit analyze` says on standard output."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradaudit.commands.output import LOG, STDOUT, WIDEST, Target, render, size, summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradaudit.audit.result import Audit


def said(text: str) -> str:
    """`text` in the characters that standard output has, what is hidden and what is foreign to it as escapes."""
    from gradaudit.report.text import logged, visible

    # Not left to click, which takes an ASCII stream for a mistake and writes UTF-8.
    encoding = sys.stdout.encoding or "utf-8"
    return logged(visible(text)).encode(encoding, "backslashreplace").decode(encoding)


@dataclass(frozen=True)
class Printing:
    """How the command line wants it said; `named` puts the run before a verdict that stands alone."""

    chosen: list[Target]
    fail_on: str
    verbose: bool
    quiet: bool
    named: bool

    def gap(self, number: int) -> None:
        """An empty line between two runs."""
        if number and not self.quiet:
            click.echo()

    def findings(self, run: Path, audit: "Audit") -> None:
        """Every report that goes to standard output."""
        formats = [target.format for target in self.chosen if target.place(run) == STDOUT]
        if self.quiet and self.talks(run):
            from gradaudit.audit.verdict import verdict
            from gradaudit.report.text import sentence

            text = sentence(verdict(audit))
            click.echo(said(f"{run}: {text}" if self.named else text))
            formats = [format for format in formats if format != "terminal"]
        for format in formats:
            if format == "github" and self.named:
                continue  # said for all runs together: the limit on annotations is one for the job's step
            if format == "terminal":
                self._terminal(audit)
            else:
                click.echo(render(audit, format, self.fail_on).encode("utf-8", "backslashreplace"), nl=False)

    def annotations(self, audits: "Sequence[Audit]") -> None:
        """Several runs: the annotations of all of them, the worst first."""
        if audits and any(target.format == "github" and target.place(Path()) == STDOUT for target in self.chosen):
            from gradaudit.report import github

            click.echo(github.render(*audits), nl=False)

    def summary_of_the_job(self, audit: "Audit") -> None:
        """With the format github, the Markdown goes to the summary of the job. Raises OutputError."""
        if any(target.format == "github" for target in self.chosen):
            summarise(render(audit, "markdown"))

    def places(self, run: Path, written: dict[str, Path]) -> None:
        """Where each report of a run is."""
        if not self.quiet:
            for file in written.values():
                click.echo(said(f"Report: {file} ({size(file)})"), err=not self.talks(run))

    def index(self, file: Path) -> None:
        """Where the page over several runs is."""
        if not self.quiet:
            click.echo("\n" + said(f"All runs: {file} ({size(file)})"), err=not self.talks(Path()))

    def talks(self, run: Path) -> bool:
        """Whether standard output is for people: nothing that a machine reads whole goes there."""
        return all(target.format in LOG or target.place(run) != STDOUT for target in self.chosen)

    def _terminal(self, audit: "Audit") -> None:
        from gradaudit.report import terminal

        width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
        unicode = "utf" in (sys.stdout.encoding or "").lower()
        text = terminal.render(audit, width=width, unicode=unicode, verbose=self.verbose, report=None)
        click.echo(text.rstrip("\n"))
