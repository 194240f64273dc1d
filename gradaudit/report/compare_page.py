"""The comparison as a page: the look, the script and the rules of the report."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradaudit.compare import Comparison, Followed, Pair, Shift
from gradaudit.findings import Dot, Dots, Lines, Mark, Series
from gradaudit.report.charts import Budget, figure
from gradaudit.report.html import render_page, sources
from gradaudit.report.marks import unchecked
from gradaudit.report.model import FigureView, Icon, Sources, TableView
from gradaudit.report.page import ICONS
from gradaudit.report.text import name, plural, quantity, sentence

COLOURED, MOST_DOTS, MOST_SHIFTS, MOST_CHANGES = 4, 40, 100, 200
NOTABLE = 0.3  # decades; a factor of two is more than a seed changes a median over half a run
WORDS = {"new": "new", "worse": "worse", "still": "still there", "unknown": "not checked", "fixed": "fixed"}


@dataclass(frozen=True)
class RunLine:
    """One run in the list at the top."""

    label: str
    name: str
    text: str


@dataclass(frozen=True)
class FollowedView:
    """What became of one diagnoser's findings."""

    icon: Icon
    status: str
    diagnoser: str
    severities: str
    headline: str
    remark: str


@dataclass(frozen=True)
class PairView:
    """The base and one other run."""

    label: str
    icon: Icon
    verdict: str
    findings: tuple[FollowedView, ...]
    figure: FigureView | None
    shifts: TableView
    text: str


@dataclass(frozen=True)
class ComparePage:
    """The whole page."""

    title: str
    heading: str
    runs: tuple[RunLine, ...]
    changes: TableView
    losses: FigureView | None
    pairs: tuple[PairView, ...]
    version: str
    sources: Sources


def render(comparison: Comparison) -> str:
    """The whole page. The same comparison gives the same bytes."""
    return render_page(build(comparison), "compare.html")


@unchecked()
def build(comparison: Comparison) -> ComparePage:
    """Everything that the page shows."""
    budget = Budget()
    labels = [run.label for run in comparison.runs]
    changes = [
        (name(change.setting), *(sentence(value) or "–" for value in change.values))
        for change in comparison.changes[:MOST_CHANGES]
    ]
    return ComparePage(
        title=f"{' and '.join(labels[:2])}{' …' if len(labels) > 2 else ''} compared – gradaudit",
        heading=f"{plural(len(labels), 'run')} compared",
        runs=tuple(
            RunLine(run.label, name(run.name) or "unnamed run", f"{plural(run.steps, 'step')}, {name(run.state)}")
            for run in comparison.runs
        ),
        changes=TableView(("setting", *labels), tuple(changes), max(0, len(comparison.changes) - MOST_CHANGES)),
        losses=_losses(comparison, budget),
        pairs=tuple(_pair(pair, budget) for pair in comparison.pairs),
        version=name(comparison.gradaudit_version),
        sources=sources(),
    )


def loss_chart(comparison: Comparison) -> Lines:
    """Training and evaluation loss of every run, the first `COLOURED` in colours of their own."""
    series: list[Series] = []
    for index, run in enumerate(comparison.runs):
        role = f"run {run.label}" if index < COLOURED else "reference"
        series += [
            Series(name=f"{run.label} {one.name}", x=one.x, y=one.y, role=role, bad=one.bad)
            for one in (*run.loss[:1], *run.evaluations[:1])
        ]
    values = [y for one in series for y in one.y if y is not None]
    log = bool(values) and min(values) > 0 and max(values) > 300 * min(values)
    caption = "Solid: training, smoothed. Dashed: evaluation. One colour a run." + (
        " The axis is logarithmic." if log else ""
    )
    return Lines(title="Loss", caption=caption, x_label="step", y_label="loss", series=series, log=log)


def _losses(comparison: Comparison, budget: Budget) -> FigureView | None:
    chart = loss_chart(comparison)
    return figure(chart, "figure-losses", budget, height=280) if chart.series else None


def _pair(pair: Pair, budget: Budget) -> PairView:
    moved = [shift for shift in pair.shifts if abs(shift.gradient_decades or 0) >= NOTABLE]
    shifted = [s for s in pair.shifts if max(abs(s.gradient_decades or 0), abs(s.ratio_decades or 0)) >= NOTABLE]
    known = plural(len(pair.shifts), "parameter tensor")
    text = f"Of {known} that both have, {len(shifted):,} changed by more than a factor of two. "
    if not pair.shifts:
        text = "They have no parameter tensor in common. "
    text += f"{plural(pair.unmatched, 'tensor')} only one of them has." if pair.unmatched else ""
    statuses = {one.status for one in pair.findings}
    rows = tuple(_row(shift) for shift in pair.shifts[:MOST_SHIFTS])
    head = ("tensor", "gradient, A", f"gradient, {pair.label}", "change", "update ratio, A",
            f"update ratio, {pair.label}", "change")  # fmt: skip
    return PairView(
        label=pair.label,
        icon="warning" if statuses & {"new", "worse"} else "passed" if statuses == {"fixed"} else "note",
        verdict=sentence(pair.verdict),
        findings=tuple(map(_followed, pair.findings)),
        figure=figure(_dots(pair, moved), f"figure-layers-{pair.label}", budget) if moved else None,
        shifts=TableView(head, rows, max(0, len(pair.shifts) - MOST_SHIFTS)),
        text=text.strip(),
    )


def _followed(one: Followed) -> FollowedView:
    severity = one.after or one.before
    icon: Icon = "passed" if one.status == "fixed" else "absent" if one.status == "unknown" else "note"
    if one.after is not None and severity is not None:
        icon = ICONS[severity]
    before, after = (value.value if value else "none" for value in (one.before, one.after))
    change = before if before == after else f"{before} → {'unknown' if one.status == 'unknown' else after}"
    return FollowedView(
        icon, WORDS[one.status], name(one.diagnoser), change, sentence(one.headline), sentence(one.remark)
    )


def _dots(pair: Pair, moved: Sequence[Shift]) -> Dots:
    """How many times larger the gradient of each tensor became: those that changed most."""
    dots = [
        Dot(label=shift.tensor, value=10**shift.gradient_decades, group=shift.role)
        for shift in moved[:MOST_DOTS]
        if shift.gradient_decades is not None
    ]
    return Dots(
        title=f"Gradient of {pair.label} over that of A",
        caption="Each mark is one tensor, the largest change at the top: right of 1 its gradient became larger, left "
        "of it smaller. Medians over the last half of each run.",
        x_label=f"gradient RMS per element, {pair.label} over A",
        dots=dots,
        marks=[Mark(label="unchanged", x=1.0, role="reference")],
    )


def _row(shift: Shift) -> tuple[str, ...]:
    return (
        name(shift.tensor), *map(quantity, shift.gradient), times(shift.gradient_decades),
        *map(quantity, shift.ratio), times(shift.ratio_decades),
    )  # fmt: skip


def times(decades: float | None) -> str:
    """ "x 2.5" for a value that grew, "÷ 4" for one that shrank."""
    if decades is None:
        return "–"
    factor = 10 ** abs(decades)
    return "same" if factor < 1.1 else f"{'×' if decades > 0 else '÷'} {quantity(float(f'{factor:.2g}'))}"
