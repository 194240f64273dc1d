"""The findings for a terminal: worst first, the counts last, since the last line is what stays on the screen."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import click

from gradaudit.audit.causes import RankedFinding
from gradaudit.audit.result import Audit
from gradaudit.audit.verdict import judged
from gradaudit.evidence.words.wording import plural
from gradaudit.findings import Severity, Skipped
from gradaudit.report import laboratory, run_state
from gradaudit.report.text import large, logged, name, sentence

WIDEST, NARROWEST = 100, 40  # columns: longer lines are hard to read, shorter ones hold nothing
MARKS = {Severity.CRITICAL: "✗", Severity.WARNING: "!", Severity.NOTE: "·"}
COLOURS = {Severity.CRITICAL: "red", Severity.WARNING: "yellow", Severity.NOTE: "blue"}
PLAIN = str.maketrans(
    {"✗": "x", "·": "-", "↳": "`", "…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "→": "->", "’": "'"}
)


@dataclass(frozen=True)
class TextLayout:
    """How text is laid out: the columns, and whether only ASCII can be shown."""

    width: int
    unicode: bool

    def shown(self, text: str) -> str:
        """`text` in characters that the terminal has, and without what the logs of CI services obey."""
        text = logged(text)
        return text if self.unicode else text.translate(PLAIN).encode("ascii", "backslashreplace").decode()

    def wrapped(self, text: str, indent: int = 0, hang: int = 0) -> list[str]:
        """`text` on lines that fit behind `indent` blanks, those after the first behind `hang` more."""
        width = max(self.width, indent + hang + 20)
        first, later = " " * indent, " " * (indent + hang)
        return textwrap.wrap(
            self.shown(text), width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
        )

    def filled(self, parts: list[tuple[str, str]]) -> Iterator[str]:
        """Styled parts (plain, styled) one after the other, on as many lines as they need."""
        line, used = "", 0
        for plain, styled in parts:
            if used and used + len(plain) > self.width:
                yield line.rstrip()
                line, used = "", 0
            line, used = line + styled, used + len(plain)
        yield line.rstrip()


def paper_for(width: int, unicode: bool) -> TextLayout:
    """TextLayout for a window of `width` columns."""
    return TextLayout(max(NARROWEST, min(width, WIDEST)), unicode)


def render(audit: Audit, *, width: int, unicode: bool, verbose: bool, report: str | None = None) -> str:
    """The findings, wrapped to `width` columns and styled by click; the caller strips colours where none are wanted.

    Without `unicode` the text is ASCII. `verbose` lists the checks without a finding too. `report` is
    a line such as "runs/x/report.html (523 KB)".
    """
    paper = paper_for(width, unicode)
    lines = [*_title(audit, paper), ""]
    for item in audit.ranked:
        lines += [*_finding(item, paper, indent=0), ""]
    if verbose:
        lines += _unremarkable(audit, paper)
    lines += _problems(audit, paper)
    lines += _counts(audit, paper, verbose)
    if report:
        lines.append(paper.shown(f"Report: {sentence(report)}"))
    return "\n".join(lines) + "\n"


def _title(audit: Audit, paper: TextLayout) -> Iterator[str]:
    overview = audit.overview
    size = f"{plural(overview.tensors, 'parameter tensor')} of {large(overview.parameters)} elements"
    yield from (click.style(line, bold=True) for line in paper.wrapped(name(audit.meta.name) or "unnamed run"))
    yield from paper.wrapped(f"{plural(overview.steps, 'step')}, {size}")
    yield from (click.style(line, fg="yellow") for line in paper.wrapped(run_state.sentence(audit)))


def _finding(item: RankedFinding, paper: TextLayout, indent: int) -> Iterator[str]:
    """One finding; those it explains follow, further in."""
    finding = item.finding
    head = paper.shown(f"{'↳ ' if indent else ''}{MARKS[finding.severity]} {finding.severity.value:<8}  ")
    inner = indent + len(head)
    first, *rest = paper.wrapped(sentence(item.title), inner) or [""]
    bold = finding.severity is Severity.CRITICAL
    styled = click.style(head, fg=COLOURS[finding.severity], bold=bold)
    yield " " * indent + styled + click.style(first.strip(), bold=True)
    yield from (" " * inner + click.style(line.strip(), bold=True) for line in rest)
    yield from paper.wrapped(f"{sentence(finding.headline)}.", inner)
    yield from paper.wrapped(sentence(finding.explanation), inner)
    if finding.actions and not indent:  # what is explained goes away with its cause
        yield from paper.wrapped(f"Next: {sentence(finding.actions[0].text)}", inner)
    for quiet in filter(None, (laboratory.told(item.base_rate), name(item.anchor))):
        yield from (" " * inner + click.style(line.strip(), dim=True) for line in paper.wrapped(quiet, inner))
    for child in item.consequences:
        yield ""
        yield from _finding(child, paper, min(indent + 2, 12))


def _unremarkable(audit: Audit, paper: TextLayout) -> Iterator[str]:
    """The checks without a finding, by what became of them."""
    for title, status, colour in (
        ("Passed", "clean", "green"),
        ("Not applicable", "not_applicable", "blue"),
        ("Skipped", "skipped", "yellow"),
        ("Could not run", "failed", "red"),
    ):
        outcomes = [outcome for outcome in audit.outcomes if outcome.status == status]
        if not outcomes:
            continue
        yield click.style(title, fg=colour, bold=True)
        for outcome in outcomes:
            text = f"{name(outcome.diagnoser)}: {sentence(outcome.result.text)}"
            if isinstance(outcome.result, Skipped) and outcome.result.enable:
                text += f". To enable: {sentence(outcome.result.enable)}"
            yield from paper.wrapped(text, 2, hang=2)
        yield ""


def _problems(audit: Audit, paper: TextLayout) -> Iterator[str]:
    for problem in audit.problems[:10]:
        yield from paper.wrapped(f"Left out: {sentence(problem)}")
    if len(audit.problems) > 10:
        yield f"Left out: {len(audit.problems) - 10:,} more parts"
    if audit.problems:
        yield ""


def _counts(audit: Audit, paper: TextLayout, verbose: bool) -> Iterator[str]:
    parts: list[tuple[str, str]] = []
    for severity in Severity:
        number = audit.count(severity)
        if number:
            words = f"{number:,} critical" if severity is Severity.CRITICAL else plural(number, severity.value)
            style = click.style(words, fg=COLOURS[severity], bold=severity is Severity.CRITICAL)
            parts.append((words, style))
    if not parts:
        parts.append(("no problem found" if judged(audit) else "too little was recorded to judge",) * 2)
    passed = f"{len(audit.with_status('clean')):,} passed"
    parts.append((passed, click.style(passed, fg="green")))
    for outcomes, words in (
        (audit.with_status("not_applicable"), "not applicable"),
        (audit.with_status("skipped"), "skipped"),
        (audit.with_status("failed"), "could not run"),
    ):
        if outcomes:
            parts.append((f"{len(outcomes):,} {words}",) * 2)
    parts = [(f"{a}, ", f"{b}, ") for a, b in parts[:-1]] + [parts[-1]]
    hint = "  (-v lists them)"
    yield from paper.filled(parts if verbose else [*parts, (hint, click.style(hint, dim=True))])
