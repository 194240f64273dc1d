"""The comparison for a terminal."""

from collections.abc import Iterator

import click

from gradaudit.audit.compare import Comparison, Pair
from gradaudit.evidence.words.wording import plural
from gradaudit.report.html.compare_page import NOTABLE, run_words, status_words, times
from gradaudit.report.terminal import COLOURS, TextLayout, paper_for
from gradaudit.report.text import name, sentence

MOST_CHANGES, MOST_SHIFTS = 20, 5
COLUMN = 18  # of what became of a finding


def render(comparison: Comparison, *, width: int, unicode: bool) -> str:
    """The verdicts, what was changed, what became of the findings, and the layers that changed most."""
    paper = paper_for(width, unicode)
    lines: list[str] = []
    for run in comparison.runs:
        lines += paper.wrapped(f"{run.label}  {name(run.name)}: {run_words(run)}", 0, hang=3)
    for pair in comparison.pairs:
        lines += ["", *(click.style(line, bold=True) for line in paper.wrapped(sentence(pair.verdict)))]
        for one in pair.details:
            lines += paper.wrapped(sentence(one), 2, hang=2)
    lines += ["", *_changes(comparison, paper)]
    for pair in comparison.pairs:
        lines += ["", *_pair(pair, paper)]
    return "\n".join(lines) + "\n"


def _changes(comparison: Comparison, paper: TextLayout) -> Iterator[str]:
    yield click.style("What was changed", bold=True)
    shown = [change for change in comparison.changes if change.telling][:MOST_CHANGES]
    for change in shown:
        values = "; ".join(
            f"{run.label} {sentence(value) or '–'}" for run, value in zip(comparison.runs, change.values, strict=True)
        )
        yield from paper.wrapped(f"{name(change.setting)}: {values}", 2, hang=2)
    more = len(comparison.changes) - len(shown)
    if more > 0:
        yield f"  {'and ' if shown else ''}{plural(more, 'more setting')}, on the page and in the JSON"
    if not comparison.changes:
        yield from paper.wrapped("nothing that is recorded: the runs may differ in data, seed or code", 2)


def _pair(pair: Pair, paper: TextLayout) -> Iterator[str]:
    yield click.style(f"From A to {name(pair.label)}", bold=True)
    for one in pair.findings:
        severity = one.after or one.before
        colour = "green" if one.status == "fixed" else COLOURS[severity] if severity else None
        first, *rest = paper.wrapped(f"{name(one.diagnoser)}: {sentence(one.headline)}", COLUMN + 2)
        word = paper.shown(status_words(one.status, pair.label))
        yield f"  {click.style(word, fg=colour)}{' ' * (COLUMN - len(word))}{first.strip()}"
        yield from rest
        if one.remark:
            yield from paper.wrapped(sentence(one.remark), COLUMN + 2)
    shifted = [s for s in pair.shifts if max(abs(s.gradient_decades or 0), abs(s.ratio_decades or 0)) >= NOTABLE]
    for shift in shifted[:MOST_SHIFTS]:
        words = f"gradient {times(shift.gradient_decades)}, update ratio {times(shift.ratio_decades)}"
        yield from paper.wrapped(f"{name(shift.tensor)}: {words}", 2, hang=2)
    if len(shifted) > MOST_SHIFTS:
        yield f"  and {plural(len(shifted) - MOST_SHIFTS, 'more tensor')} changed by more than a factor of two"
