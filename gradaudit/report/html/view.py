"""Turns an `Audit` into the `Page` that the templates show."""

import re
from collections.abc import Iterable, Iterator

from gradaudit.audit.causes import RankedFinding
from gradaudit.audit.overview import Overview, ParameterRow
from gradaudit.audit.result import Audit, Outcome
from gradaudit.audit.verdict import judged, verdict
from gradaudit.evidence.words.wording import plural
from gradaudit.findings import Confidence, Failed, Severity, Skipped
from gradaudit.report import laboratory, measure_text, run_state
from gradaudit.report.charts.figures import Budget, figure
from gradaudit.report.html.prose import prose
from gradaudit.report.model import (
    ActionView,
    CardView,
    CheckRow,
    Count,
    Fact,
    Icon,
    ParameterView,
    TopAction,
)
from gradaudit.report.text import duration, large, name, quantity, sentence, visible, visible_lines

MOST_LOSSES = 4  # tiles
LITERAL = ("Run", "Host", "User", "Directory", "Command")  # facts that are shown as they were typed
MOST_CARDS, MOST_FIGURES, MOST_PARAMETERS, MOST_PROBLEMS = 80, 6, 300, 50
CONFIDENCE = {
    Confidence.CERTAIN: "Certain: exact values, no estimate",
    Confidence.HIGH: "High confidence",
    Confidence.MEDIUM: "Medium confidence",
    Confidence.LOW: "Low confidence",
}
ICONS: dict[Severity, Icon] = {
    Severity.CRITICAL: "critical",
    Severity.WARNING: "warning",
    Severity.NOTE: "note",
}


def anchor(text: str) -> str:
    """An id that is safe in a URL; the page's own ids have a hyphen, those of findings come from one word."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)[:100] or "finding"


def headline_line(audit: Audit) -> str:
    """The line under the run's name."""
    overview, meta = audit.overview, audit.meta
    parts = [meta.started[:10], plural(overview.steps, "step")]
    parts += [f"losses, charts and numbers of rank {meta.rank} of {meta.world_size}"] if meta.world_size > 1 else []
    parts.append(f"{plural(overview.tensors, 'parameter tensor')}, {large(overview.parameters)} elements")
    parts += [", ".join(dict.fromkeys(name(facts.optimizer_class) for facts in meta.optimizers))]
    parts += [f"torch {name(meta.torch_version)}" if meta.torch_version else ""]
    return " · ".join(part for part in parts if part)


def worst(audit: Audit) -> Icon:
    """The icon of the verdict."""
    ranks = [item.finding.severity for item in audit.all_ranked()]
    if ranks:
        return ICONS[min(ranks, key=lambda severity: severity.rank)]
    return "passed" if judged(audit) else "absent"


def verdict_text(audit: Audit) -> str:
    """The verdict, and that a check failed when one did."""
    failed = len(audit.with_status("failed"))
    text = sentence(verdict(audit))
    return f"{text} {plural(failed, 'check')} could not run." if failed else text


def counts(audit: Audit) -> Iterator[Count]:
    """How many findings of each severity, and how many checks of each other status; zeros left out."""
    for severity, label in ((Severity.CRITICAL, "critical"), (Severity.WARNING, "warning"), (Severity.NOTE, "note")):
        number = audit.count(severity)
        first = next((item.anchor for item in audit.all_ranked() if item.finding.severity is severity), "")
        if number:
            plural_label = label if number == 1 or severity is Severity.CRITICAL else f"{label}s"
            yield Count(ICONS[severity], number, plural_label, anchor(first))
    statuses: tuple[tuple[str, Icon, str, str], ...] = (
        ("clean", "passed", "passed", "checks-passed"),
        ("not_applicable", "absent", "not applicable", "not-applicable"),
        ("skipped", "absent", "skipped", "skipped"),
        ("failed", "failed", "could not run", "could-not-run"),
    )
    for status, icon, label, href in statuses:
        number = sum(outcome.status == status for outcome in audit.outcomes)
        if number:
            yield Count(icon, number, label, href)


def top_actions(ranked: Iterable[RankedFinding], most: int = 3) -> tuple[TopAction, ...]:
    """The first action of each root, worst first; notes only where nothing is worse."""
    roots = [item for item in ranked if item.finding.actions]
    severe = [item for item in roots if item.finding.severity is not Severity.NOTE] or roots
    found: dict[str, TopAction] = {}
    for item in severe:
        text = sentence(item.finding.actions[0].text)
        found.setdefault(text, TopAction(text, sentence(item.title), anchor(item.anchor)))
    return tuple(found.values())[:most]


def loss_ends(overview: Overview) -> list[tuple[str, str, str]]:
    """For each training loss: whose it is where there are several, the first one, and the mean of the last tenth.

    NaN or Inf stands where training ends in that.
    """
    return [
        (name(one.optimizer), quantity(one.first), name(one.last_non_finite) or quantity(one.last))
        for one in overview.ends
    ]


def summary_facts(overview: Overview) -> tuple[Fact, ...]:
    """The numbers under "The run"."""
    facts = []
    for (owner, first, last), one in list(zip(loss_ends(overview), overview.ends, strict=True))[:MOST_LOSSES]:
        ends = "first step, last step" if one.last_non_finite else "first step, mean of the last tenth"
        facts.append(Fact(f"Training loss{', ' if owner else ''}{owner}", f"{first} → {last}", ends))
    best = overview.best_evaluation
    if best is not None and best.x is not None:
        facts.append(Fact("Best validation loss", quantity(best.y), f"step {best.x:,.0f} of {overview.steps - 1:,}"))
    else:
        facts.append(Fact("Validation loss", "–", _no_best(overview)))
    period = "a step of the median layer, last half of the run; about 1e-3 is usual"
    facts.append(Fact("Update / weight", quantity(overview.update_ratio), period))
    if overview.steps > 1 and overview.seconds > 0:
        speed = f"first step to last; {quantity((overview.steps - 1) / overview.seconds)} steps per second"
        facts.append(Fact("Time", duration(overview.seconds), speed))
    else:
        facts.append(Fact("Time", "–", "n/a for a single step"))
    return tuple(facts)


def _no_best(overview: Overview) -> str:
    """Why the best validation loss is unknown."""
    if not overview.evaluations:
        return "none was recorded"
    return "evaluated once" if overview.validation else "not told apart from other evaluations"


def cards(audit: Audit, budget: Budget) -> tuple[tuple[CardView, ...], int]:
    """The finding cards, consequences inside their root, and how many findings had no room."""
    documents = {outcome.diagnoser: outcome.documentation for outcome in audit.outcomes}
    room = MOST_CARDS

    def build(item: RankedFinding, cause: RankedFinding | None) -> CardView:
        nonlocal room
        room -= 1
        finding = item.finding
        identifier = anchor(item.anchor)
        document = documents.get(item.diagnoser, {})
        figures = tuple(
            figure(evidence, f"{identifier}-figure-{index}", budget)
            for index, evidence in enumerate(finding.evidence[:MOST_FIGURES])
        )
        actions = tuple(ActionView(sentence(one.text), visible_lines(one.code)[:4000]) for one in finding.actions[:12])
        below = tuple(build(child, item) for child in item.consequences if room > 0)
        first, last = finding.span.first, finding.span.last
        return CardView(
            id=identifier,
            diagnoser=name(item.diagnoser),
            icon=ICONS[finding.severity],
            severity=finding.severity.value.capitalize(),
            confidence=CONFIDENCE[finding.confidence],
            title=sentence(item.title),
            headline=sentence(finding.headline),
            explanation=sentence(finding.explanation),
            steps=f"step {first:,}" if first == last else f"steps {first:,} to {last:,}",
            laboratory=laboratory.told(item.base_rate),
            figures=figures,
            why=prose(document.get("Why it matters", "")),
            wrong=prose(document.get("When it is wrong", "")),
            actions=actions,
            advice=() if actions else prose(document.get("What to try", "")),
            measures=tuple(measure_text.view(one) for one in finding.measures[:20]),
            cause=sentence(cause.title) if cause else "",
            cause_id=anchor(cause.anchor) if cause else "",
            consequences=below,
        )

    shown = tuple(build(item, None) for item in audit.ranked if room > 0)
    return shown, len(audit.all_ranked()) - (MOST_CARDS - room)


def entries(outcomes: Iterable[Outcome]) -> tuple[CheckRow, ...]:
    """Checks without a finding: what was measured, or why not and how to enable it."""
    return tuple(
        CheckRow(
            name(outcome.diagnoser),
            "" if isinstance(outcome.result, Failed) else sentence(outcome.result.text),
            sentence(outcome.result.enable) if isinstance(outcome.result, Skipped) else "",
            visible_lines(outcome.result.traceback)[-6000:] if isinstance(outcome.result, Failed) else "",
        )
        for outcome in outcomes
    )


def parameters(table: list[ParameterRow]) -> tuple[ParameterView, ...]:
    """The parameter table: flagged tensors first, then in depth order, at most `MOST_PARAMETERS`."""
    order = sorted(table, key=lambda row: not row.flagged)[:MOST_PARAMETERS]
    return tuple(
        ParameterView(
            name(row.name),
            f"{row.elements:,}",
            quantity(row.gradient_rms),
            quantity(row.update_ratio),
            quantity(row.weight_norm),
            spark(row.spark),
            row.flagged,
        )
        for row in order
    )


def spark(values: list[float | None]) -> str:
    """An SVG path through `values` in a box of 90 x 18; gaps stay gaps."""
    seen = [value for value in values if value is not None]
    if len(seen) < 2:
        return ""
    low, high = min(seen), max(seen)
    middle = (low + high) / 2
    reach = max(high - low, 0.5)  # half a decade at least: noise must not look like a trend
    path, pen = [], "M"
    for index, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        x = 1 + 88 * index / (len(values) - 1)
        y = 9 - 15 * (value - middle) / reach
        path.append(f"{pen}{x:.0f} {y:.1f}")
        pen = "L"
    return "".join(path)


def run_facts(audit: Audit) -> tuple[Fact, ...]:
    """The facts of the run; the private ones only when the audit holds them."""
    private = audit.meta.private
    facts = [*audit.overview.facts, ("Host", private.host), ("User", private.user), ("Directory", private.directory)]
    facts.append(("Command", " ".join(private.command)))
    return tuple(Fact(name(key), sentence(value), literal=key in LITERAL) for key, value in facts if value)


def problems(audit: Audit) -> tuple[str, ...]:
    """Parts of the run that were left out."""
    shown = [sentence(problem) for problem in audit.problems[:MOST_PROBLEMS]]
    more = len(audit.problems) - len(shown)
    return (*shown, *([f"and {more:,} more"] if more else []))


def title(audit: Audit) -> str:
    """The window's title: how the run ended if not by itself and the counts first, since tabs cut it."""
    found = [f"{count.number} {count.label}" for count in counts(audit) if count.icon in ICONS.values()]
    if not found:
        found = ["nothing found" if judged(audit) else "too little recorded"]
    words = ", ".join(filter(None, [run_state.label(audit), *found]))
    return f"{words} – {visible(name(audit.meta.name, 60))} – gradaudit"
