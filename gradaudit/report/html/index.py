"""The page over several runs: a row for each, with its verdict, loss curve and main findings, linked to its report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from urllib.parse import quote

import gradaudit
from gradaudit.audit.result import Audit
from gradaudit.audit.verdict import judged
from gradaudit.chart_data import Series
from gradaudit.evidence.words.wording import plural
from gradaudit.findings import Severity
from gradaudit.report.charts.theme import BLUE, ORANGE
from gradaudit.report.html.report_page import render_page, sources
from gradaudit.report.html.view import ICONS, loss_ends, worst
from gradaudit.report.model import CheckRow, Count, Icon, Sources
from gradaudit.report.text import name, quantity, sentence, visible

MOST_RUNS, MOST_FINDINGS = 1000, 3
BOX = (150, 40)  # px of a loss curve
POINTS = 75  # of a loss curve: two px each
HIDDEN = 2  # px of a bar that its line covers


@dataclass(frozen=True)
class Audited:
    """A run that was analyzed: its label and the report's place relative to the index."""

    label: str
    report: PurePosixPath
    audit: Audit


@dataclass(frozen=True)
class Curve:
    """One line in a box of `BOX` px, or the band around one."""

    path: str
    colour: str
    dash: str = ""
    faint: bool = False


@dataclass(frozen=True)
class FindingView:
    """One finding in a row, or that there is none."""

    icon: Icon
    severity: str
    title: str


@dataclass(frozen=True)
class RunView:
    """One row; `rank` sorts worst first, `best_value` is empty without a validation loss."""

    name: str
    href: str
    state: str
    started: str
    steps: int
    best: str
    best_value: str
    best_step: str
    curves: tuple[Curve, ...]
    curve_words: str
    findings: tuple[FindingView, ...]
    more: str
    rank: int


@dataclass(frozen=True)
class IndexPage:
    """The whole page."""

    title: str
    heading: str
    line: str
    counts: tuple[Count, ...]
    runs: tuple[RunView, ...]
    left_out: str
    unread: tuple[CheckRow, ...]
    version: str
    sources: Sources


def render(runs: Sequence[Audited], unread: Sequence[tuple[str, str]] = ()) -> str:
    """The page; `unread` holds the label of each run that could not be analyzed, and why."""
    return render_page(build(runs, unread), "index.html")


def build(runs: Sequence[Audited], unread: Sequence[tuple[str, str]] = ()) -> IndexPage:
    """Everything that the page shows, in the order of `runs`."""
    left_out = len(runs) - MOST_RUNS
    total = plural(len(runs), "run")
    counts = tuple(_counts(runs, len(unread)))
    return IndexPage(
        title=f"{total} – gradaudit",
        heading=f"{total} analyzed",
        line="Each name leads to the report of its run.",
        counts=counts,
        runs=tuple(map(_view, runs[:MOST_RUNS])),
        left_out=f"{plural(left_out, 'more run')} not shown here." if left_out > 0 else "",
        unread=tuple(CheckRow(name(label), sentence(reason)) for label, reason in unread),
        version=gradaudit.__version__,
        sources=sources(),
    )


def address(report: PurePosixPath) -> str:
    """The link to a report: relative, every character that could begin a scheme or end an attribute encoded."""
    return f"./{quote(str(report), safe='/', errors='surrogatepass')}"


def _counts(runs: Sequence[Audited], unread: int) -> Iterator[Count]:
    """How many runs have a finding of each severity as their worst, and how many none."""
    icons = [worst(run.audit) for run in runs]
    labels: tuple[tuple[Icon, str], ...] = (
        ("critical", "at worst critical"),
        ("warning", "at worst a warning"),
        ("note", "at worst a note"),
        ("passed", "without a finding"),
        ("absent", "recorded too little to judge"),
    )
    for icon, label in labels:
        if icons.count(icon):
            yield Count(icon, icons.count(icon), label, "")
    if unread:
        yield Count("failed", unread, "not analyzed", "")


def _view(run: Audited) -> RunView:
    audit, overview = run.audit, run.audit.overview
    best = overview.best_evaluation
    # The causes before what they explain, however bad that is.
    effects = [item for item in audit.all_ranked() if item not in audit.ranked]
    findings = [
        FindingView(ICONS[item.finding.severity], item.finding.severity.value, sentence(item.title))
        for item in (*audit.ranked, *effects)
    ]
    if not findings and judged(audit):
        findings = [FindingView("passed", "none", f"in {plural(len(audit.with_status('clean')), 'check')}")]
    elif not findings:
        findings = [FindingView("absent", "too little", "was recorded to judge")]
    losses = [*overview.loss[:2], *(overview.evaluations[:1] if overview.validation else [])]
    ends = [
        f"{'of ' if owner else ''}{owner}{' ' if owner else ''}from {first} to {last}"
        for owner, first, last in loss_ends(overview)[:2]
    ]
    return RunView(
        name=name(run.label) or "unnamed run",
        href=address(run.report),
        state=visible(audit.state),
        started=visible(audit.meta.started[:16].replace("T", " ")),
        steps=overview.steps,
        best=quantity(best.y if best else None),
        best_value=f"{best.y:.9g}" if best and best.y is not None else "",
        best_step=f"step {best.x:,.0f}" if best and best.x is not None else "",
        curves=curves(losses),
        curve_words=f"training loss {', '.join(ends)}",
        findings=tuple(findings[:MOST_FINDINGS]),
        more=f"{len(findings) - MOST_FINDINGS} more" if len(findings) > MOST_FINDINGS else "",
        rank=_rank(audit),
    )


def _rank(audit: Audit) -> int:
    """A number that is small for a run with many severe findings."""
    critical, warnings, notes = (min(audit.count(severity), 999) for severity in Severity)
    return 10**9 - critical * 10**6 - warnings * 10**3 - notes


def curves(series: Sequence[Series]) -> tuple[Curve, ...]:
    """Each series as a line in one box; training solid, validation dashed."""
    points = [
        (x, y)
        for one in series
        for ys in (one.y, one.low, one.high)
        if ys
        for x, y in zip(one.x, ys, strict=True)
        if y is not None
    ]
    if len(points) < 2:
        return ()
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    width, height = BOX[0] - 2, BOX[1] - 4

    def place(x: float, y: float) -> tuple[float, float]:
        return 1 + width * (x - left) / (right - left or 1), 2 + height * (1 - (y - low) / (high - low or 1))

    found = []
    for one in series:
        path, pen = [], "M"
        stride = max(1, len(one.x) // POINTS)
        kept = [*range(0, len(one.x) - 1, stride), len(one.x) - 1] if one.x else []
        for index in kept:
            y = one.y[index]
            if y is None:
                pen = "M"
                continue
            across, down = place(one.x[index], y)
            path.append(f"{pen}{across:.1f} {down:.1f}")
            pen = "L"
        evaluation = one.role == "evaluation"
        colour = ORANGE if evaluation else BLUE
        band = _band(one, kept, place)
        found += [Curve(band, colour, faint=True)] if band else []
        found += [Curve("".join(path), colour, "4 2" if evaluation else "")] if path else []
    return tuple(found)


def _band(one: Series, kept: Sequence[int], place: Callable[[float, float], tuple[float, float]]) -> str:
    """A bar for each slice of steps, from its least to its greatest value: smoothing would hide a spike."""
    bars = []
    for index, after in pairwise([*kept, len(one.x)] if one.low and one.high else []):
        lows = [y for y in one.low[index:after] if y is not None]
        highs = [y for y in one.high[index:after] if y is not None]
        if lows and highs:
            (across, bottom), (_, top) = place(one.x[index], min(lows)), place(one.x[index], max(highs))
            if bottom - top > HIDDEN:
                bars.append(f"M{across:.1f} {bottom:.0f}V{top:.0f}")
    return "".join(bars)
