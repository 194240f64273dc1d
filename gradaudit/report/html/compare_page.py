"""The comparison as a page: the look, the script and the rules of the report."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradaudit.audit.compare import Compared, Comparison, Followed, Pair, Status, TensorChange
from gradaudit.audit.differences import GROUPS, Change
from gradaudit.audit.overview import split_kind
from gradaudit.chart_data import Dot, Dots, Lines, Mark, Series
from gradaudit.evidence.words.wording import names, percent, plural
from gradaudit.report.charts.figures import Budget, figure
from gradaudit.report.charts.primitives import spans_decades, unchecked
from gradaudit.report.html.report_page import render_page, sources
from gradaudit.report.html.view import ICONS
from gradaudit.report.model import FigureView, Icon, Sources, TableView
from gradaudit.report.text import name, quantity, sentence

COLOURED, MOST_DOTS, MOST_SHIFTS, MOST_CHANGES, MOST_PANELS = 4, 40, 100, 200, 6
NOTABLE = 0.3  # decades; a factor of two is more than a seed changes a median over half a run
WORDS: dict[Status, str] = {
    "new": "new",
    "worse": "worse",
    "unchecked_before": "not checked in A",
    "still": "still there",
    "unchecked_after": "not checked in {}",
    "gone": "not found in {}",
    "fixed": "fixed",
}


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
    details: tuple[str, ...]
    findings: tuple[FollowedView, ...]
    figure: FigureView | None
    shifts: TableView
    text: str


@dataclass(frozen=True)
class SettingsView:
    """The settings that differ, by group: those that a person would ask for first, and the details."""

    head: tuple[str, ...]
    telling: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    details: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    more: str  # what is in the details
    left_out: int


@dataclass(frozen=True)
class ComparePage:
    """The whole page."""

    title: str
    heading: str
    runs: tuple[RunLine, ...]
    settings: SettingsView
    losses: tuple[FigureView, ...]
    losses_apart: str  # why they are not in one picture
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
    charts = loss_charts(comparison)
    return ComparePage(
        title=f"{' and '.join(labels[:2])}{' …' if len(labels) > 2 else ''} compared – gradaudit",
        heading=f"{plural(len(labels), 'run')} compared",
        runs=tuple(RunLine(run.label, name(run.name) or "unnamed run", run_words(run)) for run in comparison.runs),
        settings=_settings(comparison, labels),
        losses=tuple(
            figure(chart, "figure-losses" + (f"-{index}" if index else ""), budget, height=280 if index == 0 else 220)
            for index, chart in enumerate(charts[:MOST_PANELS])
        ),
        losses_apart=_apart(comparison, len(charts)),
        pairs=tuple(_pair(pair, budget) for pair in comparison.pairs),
        version=name(comparison.gradaudit_version),
        sources=sources(),
    )


def run_words(run: Compared) -> str:
    """How long a run is, how it ended, and how spiky it was."""
    scores = ((run.loss_spike_score, "loss"), (run.norm_spike_score, "gradient norm"))
    told = [f"{percent(score)} of the {what}" for score, what in scores if score is not None]
    spikes = f"; spike score {names(told)}" if told else ""
    return f"{plural(run.steps, 'step')}, {name(run.state)}{spikes}"


def _settings(comparison: Comparison, labels: Sequence[str]) -> SettingsView:
    shown = comparison.changes[:MOST_CHANGES]

    def grouped(telling: bool) -> tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]:
        chosen = [change for change in shown if change.telling is telling]
        rows = ((group, tuple(_change(change) for change in chosen if change.group == group)) for group in GROUPS)
        return tuple((group, some) for group, some in rows if some)

    details = grouped(telling=False)
    count = sum(len(rows) for _, rows in details)
    more = f"{plural(count, 'more setting')} of {names([group for group, _ in details], 4)}" if count else ""
    return SettingsView(
        ("setting", *labels), grouped(telling=True), details, more, max(0, len(comparison.changes) - MOST_CHANGES)
    )


def _change(change: Change) -> tuple[str, ...]:
    return (name(change.setting), *(sentence(value) or "–" for value in change.values))


def loss_charts(comparison: Comparison) -> list[Lines]:
    """Training and validation loss of every run, those of one loss function on one axis."""
    panels: dict[str, list[tuple[int, Compared]]] = {}
    for index, run in enumerate(comparison.runs):
        if run.loss or run.evaluations:
            panels.setdefault(run.loss_function, []).append((index, run))
    return [_loss_chart(function, runs, len(panels) > 1) for function, runs in panels.items()]


def _loss_chart(function: str, runs: Sequence[tuple[int, Compared]], several: bool) -> Lines:
    series: list[Series] = []
    splits, left_out = [], False
    for index, run in runs:
        role = f"run {run.label}" if index < COLOURED else "reference"
        # The one that is judged comes first.
        judged = bool(run.validation) or len(run.evaluations) == 1
        evaluation = next(iter(run.evaluations), None) if judged else None
        if evaluation:
            splits.append(evaluation.name)
        left_out |= len(run.loss) > 1 or len(run.evaluations) > 1
        series += [
            Series(name=f"{run.label} {one.name}", x=one.x, y=one.y, role=role, bad=one.bad)
            for one in (*run.loss[:1], *([evaluation] if evaluation else []))
        ]
    log = spans_decades(y for one in series for y in one.y)
    caption = ["Solid: training, smoothed. Dashed: validation. One colour a run."]
    if any(index >= COLOURED for index, _ in runs):
        caption.append(f"Runs after the first {COLOURED} are grey.")
    if len({split_kind(split) for split in splits}) > 1:
        caption.append("The evaluations are of different data: compare their courses, not their heights.")
    if left_out:
        caption.append("Of several losses or splits of a run one is drawn; its own report has them all.")
    caption += ["The axis is logarithmic."] if log else []
    letters = names([run.label for _, run in runs], len(runs))
    title = f"Loss of {letters}: {name(function) or 'function not known'}" if several else "Loss"
    return Lines(title=title, caption=" ".join(caption), x_label="step", y_label="loss", series=series, log=log)


def _apart(comparison: Comparison, panels: int) -> str:
    if panels < 2:
        return ""
    more = f" The first {MOST_PANELS} of {panels} are drawn." if panels > MOST_PANELS else ""
    return (
        "The loss functions differ, so the heights of these losses cannot be compared: "
        f"each function has a chart and an axis of its own.{more}"
    )


def _pair(pair: Pair, budget: Budget) -> PairView:
    moved = [shift for shift in pair.shifts if abs(shift.gradient_decades or 0) >= NOTABLE]
    shifted = [s for s in pair.shifts if max(abs(s.gradient_decades or 0), abs(s.ratio_decades or 0)) >= NOTABLE]
    known = plural(len(pair.shifts), "parameter tensor")
    text = f"Of {known} that both have, {len(shifted):,} changed by more than a factor of two. "
    silent = sum(shift.gradient_decades is None for shift in pair.shifts)
    if silent:
        text += f"Of {silent:,} the gradient is zero or not known in one of the runs: no factor tells that change. "
    if not pair.shifts:
        text = "They have no parameter tensor in common. "
    text += f"{plural(pair.unmatched, 'tensor')} only one of them has." if pair.unmatched else ""
    statuses = {one.status for one in pair.findings}
    rows = tuple(_row(shift) for shift in pair.shifts[:MOST_SHIFTS])
    head = ("tensor", "gradient, A", f"gradient, {pair.label}", "change", "update ratio, A",
            f"update ratio, {pair.label}", "change")  # fmt: skip
    return PairView(
        label=pair.label,
        icon="warning"
        if statuses & {"new", "worse", "unchecked_before"}
        else "passed"
        if statuses == {"fixed"}
        else "note",
        verdict=sentence(pair.verdict),
        details=tuple(map(sentence, pair.details)),
        findings=tuple(_followed(one, pair.label) for one in pair.findings),
        figure=figure(_dots(pair, moved), f"figure-layers-{pair.label}", budget) if moved else None,
        shifts=TableView(head, rows, max(0, len(pair.shifts) - MOST_SHIFTS)),
        text=text.strip(),
    )


def status_words(status: Status, label: str) -> str:
    """What became of a finding from A to the run of this letter."""
    return WORDS[status].format(label)


def _followed(one: Followed, label: str) -> FollowedView:
    severity = one.after or one.before
    icon: Icon = (
        "passed" if one.status == "fixed" else "absent" if one.status in ("unchecked_after", "gone") else "note"
    )
    if one.after is not None and severity is not None:
        icon = ICONS[severity]
    before = one.before.value if one.before else "unknown" if one.status == "unchecked_before" else "none"
    after = one.after.value if one.after else "unknown" if one.status == "unchecked_after" else "none"
    change = before if before == after else f"{before} → {after}"
    return FollowedView(
        icon, status_words(one.status, label), name(one.diagnoser), change, sentence(one.headline),
        sentence(one.remark),
    )  # fmt: skip


def _dots(pair: Pair, moved: Sequence[TensorChange]) -> Dots:
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


def _row(shift: TensorChange) -> tuple[str, ...]:
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
