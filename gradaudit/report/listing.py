"""Several runs as a table for the terminal, a line each."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import click

from gradaudit.audit.result import Audit
from gradaudit.audit.verdict import judged
from gradaudit.evidence.words.wording import plural
from gradaudit.findings import Severity
from gradaudit.report.terminal import COLOURS, MARKS, TextLayout
from gradaudit.report.text import name, visible

NAME, NARROWEST = 40, 20  # columns of a name at most, of a finding at least
WIDE = 100  # columns of a terminal that has room for the spike scores, too


@dataclass(frozen=True)
class Row:
    """One line: texts that are fit to print, numbers, and the worst severity; docs/analyzing.md explains each."""

    run: str
    started: str | None  # ISO 8601; None where the run could not be read
    state: str
    steps: int | None
    diagnoser: str | None  # of the main finding, and so is its title
    title: str | None
    headline: str  # of the main finding; else what was looked for in vain, or why the run could not be read
    more: int = 0  # findings beside the main one
    severity: Severity | None = None  # the worst of all findings
    loss_spike_score: float | None = None  # share of the losses far above those before
    norm_spike_score: float | None = None  # the same of the gradient norms

    @property
    def finding(self) -> str:
        """The main finding in a cell: its title, how many more there are, and its headline."""
        more = f" (+{self.more})" if self.more else ""
        return f"{self.title}{more}: {self.headline}" if self.title else self.headline


def row(label: str, audit: Audit) -> Row:
    """The line of a run that was analyzed."""
    flat = audit.all_ranked()
    root = audit.ranked[0] if flat else None
    checks = len(audit.with_status("clean"))
    nothing = f"nothing in {plural(checks, 'check')}" if judged(audit) else "too little was recorded to judge"
    return Row(
        run=name(label, NAME),
        started=visible(audit.meta.started),
        state=audit.state,
        steps=audit.overview.steps,
        diagnoser=name(root.diagnoser) if root else None,
        title=visible(root.title) if root else None,
        headline=visible(root.finding.headline) if root else nothing,
        more=max(0, len(flat) - 1),
        severity=min((item.finding.severity for item in flat), key=lambda severity: severity.rank, default=None),
        loss_spike_score=audit.overview.loss_spike_score,
        norm_spike_score=audit.overview.norm_spike_score,
    )


def unreadable(label: str, complaint: str) -> Row:
    """The line of a run that could not be read."""
    last = complaint.strip().rpartition("\n")[2].removeprefix("gradaudit: ")
    run = name(label, NAME)
    return Row(
        run=run, started=None, state="unreadable", steps=None, diagnoser=None, title=None, headline=visible(last)
    )


def as_json(row: Row) -> str:
    """The line as a JSON object; the texts are made visible as everywhere."""
    facts = asdict(row) | {"severity": row.severity.value if row.severity else None}
    return json.dumps(facts, ensure_ascii=False)


def _minute(started: str | None) -> str:
    """The start as people read it: 2026-11-21 09:30."""
    return (started or "")[:16].replace("T", " ")


def _spikes(row: Row) -> str:
    """The spike scores of loss and gradient norm, as 0.1 / 2 %."""
    scores = (row.loss_spike_score, row.norm_spike_score)
    if scores == (None, None):
        return ""
    return f"{' / '.join('–' if one is None else f'{100 * one:.2g}' for one in scores)} %"


def render(rows: Sequence[Row], *, width: int, unicode: bool) -> str:
    """The table, a line for each run, cut to `width` columns; styled by click."""
    shown = TextLayout(width, unicode).shown
    head = ("started", "run", "state", "steps", "spikes", "main finding")
    # On a narrow terminal the finding is worth more than the scores.
    wide = width >= WIDE
    table = [
        [shown(_minute(one.started)), shown(one.run), shown(one.state), "" if one.steps is None else f"{one.steps:,}",
         shown(_spikes(one)) if wide else ""]
        for one in rows
    ]  # fmt: skip
    table = [[*head[:4], head[4] if wide else ""], *table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    room = max(NARROWEST, width - sum(widths) - 2 * len(widths) - 2)
    lines = []
    for cells, one in zip(table, (None, *rows), strict=True):
        started, run, state, steps, score = (cell.ljust(size) for cell, size in zip(cells, widths, strict=True))
        steps = steps.strip().rjust(widths[3])
        if one is None:
            lines.append(click.style(f"{started}  {run}  {state}  {steps}  {score}    {head[5]}", bold=True))
            continue
        mark = shown(MARKS[one.severity]) if one.severity else " "
        finding = shown(one.finding)
        # The beginning of a finding tells most.
        finding = finding if len(finding) <= room else f"{finding[: room - 3]}..."
        colour = COLOURS[one.severity] if one.severity else None
        said = click.style(f"{mark} {finding}", fg=colour) if colour else f"  {finding}"
        lines.append(f"{started}  {click.style(run, bold=True)}  {state}  {steps}  {score}  {said}")
    return "\n".join(line.rstrip() for line in lines)
